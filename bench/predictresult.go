package bench

import (
	"math"
	"slices"

	"github.com/galvani-ml/galvani/parallel/planner"
	training "github.com/galvani-ml/galvani/train"
)

// Prediction is what the suite predict knows of a plan, as JSON one object a line.
type Prediction struct {
	Suite    string  `json:"suite"`
	Name     string  `json:"name"`  // workload, workers and plan
	Value    float64 `json:"value"` // seconds a step
	Unit     string  `json:"unit"`
	Workload string  `json:"workload"`
	Network  string  `json:"network,omitempty"` // as 1Gbps; empty for the machine's own
	Workers  int     `json:"workers"`
	Plan     string  `json:"plan"`
	Chosen   bool    `json:"chosen"` // by the planner, within one of the budgets

	Formula        float64       `json:"formula_seconds"`   // as the search scores the plan
	Simulated      float64       `json:"simulated_seconds"` // as the simulator plays it
	Seconds        float64       `json:"seconds"`           // measured, the median step of the fastest round
	SecondsMedian  float64       `json:"seconds_median"`    // of the median round
	SecondsMax     float64       `json:"seconds_max"`       // of the slowest
	FormulaError   float64       `json:"formula_error"`     // relative, with its sign
	SimulatedError float64       `json:"simulated_error"`
	Split          planner.Split `json:"split"` // of the formula

	// Of the mean worker's step: waiting for collectives and sends, and for other
	// stages.
	CommunicationSeconds float64 `json:"communication_seconds"`
	WaitSeconds          float64 `json:"wait_seconds"`

	SearchBytes  int64 `json:"search_bytes"`  // of the largest worker, as the search adds it up
	PlannedBytes int64 `json:"planned_bytes"` // of the compiled plan
	MemoryBytes  int64 `json:"memory_bytes"`  // measured; 0 where the system does not tell
}

// PredictionSummary sums up a workload.
type PredictionSummary struct {
	Suite    string  `json:"suite"`
	Name     string  `json:"name"`
	Value    float64 `json:"value"` // the simulator's error
	Unit     string  `json:"unit"`
	Workload string  `json:"workload"`
	Network  string  `json:"network,omitempty"`
	Workers  int     `json:"workers"`
	Threads  int     `json:"threads"` // of all workers together
	Plans    int     `json:"plans"`
	Rounds   int     `json:"rounds"`
	Steps    int     `json:"steps"`

	// Means over plans of the absolute relative errors of a step's time, of the
	// memory of the compiled plan against what the search adds up, and of the
	// memory measured against the compiled plan's.
	FormulaError   float64  `json:"formula_error"`
	SimulatedError float64  `json:"simulated_error"`
	SearchedMemory float64  `json:"searched_memory_error"`
	PlannedMemory  float64  `json:"planned_memory_error"`
	Drift          float64  `json:"drift"` // by how much a plan's median round is slower than its fastest, in the mean
	Regrets        []Regret `json:"regrets"`
}

// Regret is by how much a plan that the planner chose is slower than the best that
// was measured of those that fit.
type Regret struct {
	BudgetBytes int64   `json:"budget_bytes"`
	Chosen      string  `json:"chosen,omitempty"` // empty where the planner found none
	Best        string  `json:"best"`
	Seconds     float64 `json:"seconds"` // of the chosen plan, measured
	Fastest     float64 `json:"best_seconds"`
	Regret      float64 `json:"regret"` // Seconds over Fastest, less 1
	Reason      string  `json:"reason,omitempty"`
}

const predictSuite = "predict"

// results makes those of the comparison.
func (c *comparison) results() ([]Prediction, PredictionSummary) {
	var all []Prediction
	for _, p := range c.plans {
		all = append(all, c.result(p))
	}
	s := summarizePredictions(all)
	s.Workload, s.Network, s.Workers, s.Threads = c.workload.Label, c.options.Network, c.workers, machineWide()
	s.Name, s.Rounds, s.Steps = predictName(s.Workload, s.Network, s.Workers), c.options.Rounds, c.options.Steps
	s.Drift = mean(all, func(p Prediction) float64 { return p.SecondsMedian/p.Seconds - 1 })
	for _, x := range c.choices {
		best := c.best(x.budget, (*comparedPlan).finalist)
		r := Regret{BudgetBytes: x.budget, Best: best.plan.String(), Fastest: best.seconds()}
		if x.plan == nil {
			r.Reason = x.reason.Error()
		} else {
			r.Chosen, r.Seconds = x.plan.plan.String(), x.plan.seconds()
			r.Regret = r.Seconds/r.Fastest - 1
		}
		s.Regrets = append(s.Regrets, r)
	}
	return all, s
}

func predictName(workload, network string, workers int) string {
	name := workload + " " + plural(workers, "worker")
	if network != "" {
		name += " " + network
	}
	return name
}

func (c *comparison) result(p *comparedPlan) Prediction {
	var rounds []float64
	for _, steps := range p.counted() {
		rounds = append(rounds, stepOf(steps))
	}
	steps := fastest(p.counted())
	text := p.plan.String()
	r := Prediction{
		Suite: predictSuite, Name: predictName(c.workload.Label, c.options.Network, c.workers) + " " + text, Value: stepOf(steps), Unit: "s",
		Workload: c.workload.Label, Network: c.options.Network, Workers: c.workers, Plan: text, Chosen: p.chosen,
		Formula: p.formula.Step, Simulated: p.simulated.Step, Seconds: stepOf(steps), SecondsMedian: median(rounds), SecondsMax: slices.Max(rounds),
		Split:                p.formula.Split(),
		CommunicationSeconds: median(each(steps, func(m training.Metrics) float64 { return m.CommunicationSeconds })),
		WaitSeconds:          median(each(steps, func(m training.Metrics) float64 { return m.WaitSeconds })),
		PlannedBytes:         p.planned,
	}
	r.FormulaError, r.SimulatedError = relative(r.Formula, r.Seconds), relative(r.Simulated, r.Seconds)
	for _, s := range p.formula.Stages {
		r.SearchBytes = max(r.SearchBytes, s.Memory)
	}
	for _, steps := range p.counted() {
		for _, m := range steps {
			r.MemoryBytes = max(r.MemoryBytes, m.PeakBytes)
		}
	}
	return r
}

// summarizePredictions computes the errors.
func summarizePredictions(all []Prediction) PredictionSummary {
	s := PredictionSummary{Suite: predictSuite + "-summary", Unit: "relative error", Plans: len(all)}
	s.FormulaError = mean(all, func(p Prediction) float64 { return math.Abs(p.FormulaError) })
	s.SimulatedError = mean(all, func(p Prediction) float64 { return math.Abs(p.SimulatedError) })
	s.SearchedMemory = mean(all, func(p Prediction) float64 { return math.Abs(relative(float64(p.SearchBytes), float64(p.PlannedBytes))) })
	measured := slices.DeleteFunc(slices.Clone(all), func(p Prediction) bool { return p.MemoryBytes == 0 })
	if len(measured) > 0 {
		s.PlannedMemory = mean(measured, func(p Prediction) float64 { return math.Abs(relative(float64(p.PlannedBytes), float64(p.MemoryBytes))) })
	}
	s.Value = s.SimulatedError
	return s
}

// relative is by how much a prediction is off.
func relative(predicted, measured float64) float64 { return predicted/measured - 1 }

// mean is that of a figure.
func mean[T any](all []T, figure func(T) float64) float64 {
	sum := 0.0
	for _, x := range all {
		sum += figure(x)
	}
	return sum / float64(len(all))
}

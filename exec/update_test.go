package exec_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/exec/internal/exectest"
	"github.com/galvani-ml/galvani/graph"
)

// referenceUpdate is clip_grad_norm_ and AdamW of PyTorch, in float64.
func referenceUpdate(params, grads, first, second [][]float64, decays []bool, a exec.AdamW) (norm float64) {
	for _, g := range grads {
		for _, v := range g {
			norm += v * v
		}
	}
	norm = math.Sqrt(norm)
	scale := 1.0
	if a.Clip > 0 {
		scale = math.Min(1, a.Clip/(norm+1e-6))
	}
	for i := range params {
		for j, g := range grads[i] {
			g *= scale
			if decays[i] {
				params[i][j] -= a.LR * a.WeightDecay * params[i][j]
			}
			first[i][j] = a.Beta1*first[i][j] + (1-a.Beta1)*g
			second[i][j] = a.Beta2*second[i][j] + (1-a.Beta2)*g*g
			m := first[i][j] / (1 - math.Pow(a.Beta1, float64(a.Step)))
			v := second[i][j] / (1 - math.Pow(a.Beta2, float64(a.Step)))
			params[i][j] -= a.LR * m / (math.Sqrt(v) + a.Eps)
		}
	}
	return norm
}

// TestUpdate compares five steps with the reference, clipping in some of them.
func TestUpdate(t *testing.T) {
	s := trainable(t, exectest.GPT, exectest.Small)
	m := machine(t, compile(t, s, backend(t, 2), exec.Options{Train: true}), nil)
	r := rand.New(rand.NewPCG(1, 1))
	data := exectest.Draw(r, s, exectest.Small.V)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)
	var params, first, second [][]float64
	var decays []bool
	for _, p := range m.Params() {
		params = append(params, widen(p.Value))
		first, second = append(first, widen(p.M)), append(second, widen(p.V))
		decays = append(decays, len(p.Shard.Param.Stored) > 1)
	}
	for step := 1; step <= 5; step++ {
		mb := exec.MicroBatch{Step: step}
		if err := m.Forward(t.Context(), mb); err != nil {
			t.Fatal(err)
		}
		loss := float64(m.Loss(0))
		if err := m.Backward(t.Context(), mb, true); err != nil {
			t.Fatal(err)
		}
		var grads [][]float64
		for _, p := range m.Params() {
			grads = append(grads, widen(p.Grad))
		}
		a := exec.AdamW{LR: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: float64(step % 3), Step: step}
		norm := referenceUpdate(params, grads, first, second, decays, a)
		stats, err := m.Update(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(stats.GradNorm-norm) > 0x1p-24*norm || // it is a float32
			stats.Loss != loss {
			t.Errorf("step %d: %+v, want norm %g and loss %g", step, stats, norm, loss)
		}
		for i, p := range m.Params() {
			exectest.Close(t, p.Shard.Param.Name, p.Value, params[i], 1e-5)
			exectest.Close(t, p.Shard.Param.Name+"'s first moment", p.M, first[i], 1e-5)
			exectest.Close(t, p.Shard.Param.Name+"'s second moment", p.V, second[i], 1e-5)
		}
	}
}

func TestNonFinite(t *testing.T) {
	s := trainable(t, exectest.GPT, exectest.Small)
	m := machine(t, compile(t, s, backend(t, 1), exec.Options{Train: true}), nil)
	pass(t, m, exec.MicroBatch{})
	param := m.Params()[4]
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		param.Grad[1] = float32(bad)
		_, err := m.Update(t.Context(), exec.AdamW{LR: 1, Beta1: 0.9, Beta2: 0.9, Step: 3, Clip: 1})
		var e *exec.NonFiniteError
		if !errors.As(err, &e) || e.Param != param.Shard.Param.Name || e.Step != 3 {
			t.Errorf("gradient %v: %v", bad, err)
		}
		if param.Value[1] != 0 || param.M[1] != 0 {
			t.Errorf("gradient %v: the parameter was updated", bad)
		}
	}
}

// TestLossReplica shows that a rank whose loss another one reports reports none.
func TestLossReplica(t *testing.T) {
	s := trainable(t, exectest.GPT, exectest.Small)
	p := compile(t, s, backend(t, 1), exec.Options{Train: true, LossReplica: true})
	m := machine(t, p, exectest.NewRanks(1).Rank(0))
	data := exectest.Draw(rand.New(rand.NewPCG(1, 1)), s, exectest.Small.V)
	exectest.SetParams(m, data)
	exectest.SetInputs(m, 0, data)
	pass(t, m, exec.MicroBatch{})
	stats, err := m.Update(t.Context(), exec.AdamW{Step: 1})
	if err != nil || m.Loss(0) == 0 || stats.Loss != 0 || stats.GradNorm == 0 {
		t.Errorf("%+v, loss %g, error %v", stats, m.Loss(0), err)
	}
}

func TestNotTraining(t *testing.T) {
	model, err := exectest.GPT(exectest.Small, true)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, compile(t, graph.Whole(model), backend(t, 1), exec.Options{}), nil)
	if err := m.Backward(t.Context(), exec.MicroBatch{}, true); err == nil {
		t.Error("a program without gradients runs backward")
	}
	if _, err := m.Update(t.Context(), exec.AdamW{}); err == nil {
		t.Error("a program without gradients updates")
	}
}

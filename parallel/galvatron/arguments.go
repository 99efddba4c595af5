package galvatron

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
)

// Schedule is the order of micro-batches in a pipeline.
type Schedule string

// The engine's schedules.
const (
	GPipe          Schedule = "gpipe"
	PipeDreamFlush Schedule = "pipedream_flush"
)

// Mode is how a profile is read.
type Mode string

// The engine's modes.
const (
	Static   Mode = "static"
	Batch    Mode = "batch"
	Sequence Mode = "sequence"
)

// Arguments are the search arguments of version 3.0.
type Arguments struct {
	Model               string
	Hidden, Seq, Layers int
	Nodes, Devices      int // devices of one node
	Memory              int // GB of 1024 MB a device
	Batches             Batches
	Space               Space
	DefaultKind         DataParallel // of layers without ZeRO-3
	Schedule            Schedule
	Precision           string // fp32, fp16 or bf16
	AsyncReduce         bool   // gradients are kept whole until the last micro-batch
	SequenceParallel    bool   // Megatron's
	GlobalBuffer        bool   // gather buffer of sequence parallelism
	FineGrained         bool   // strategies by layer
	TimeMode            Mode
	MemoryMode          Mode
	Scale               float64 // multiplies times of layers
	Profile             string  // name of the folder of profiles, empty where the arguments do not tell
}

// Batches says what batch sizes to try: Settled alone if it is above 0, or else
// from Min to Max in steps. SettledChunks above 0 is the only number of
// micro-batches, or else all divisors are tried.
type Batches struct {
	Min, Max, Step         int
	Settled, SettledChunks int
}

// Space restricts strategies.
type Space struct {
	DisableDP, DisableTP, DisableSP, DisableCP, DisablePP bool
	DisableCheckpoint, DisableZeRO3                       bool
	DisableVocabTP, DisableVocabSP                        bool
	MaxPP, MaxTP, MaxSP, MaxCP                            int
}

// World is the number of devices.
func (a *Arguments) World() int { return a.Nodes * a.Devices }

// Budget is the MB a device that plans may take: a fifth of more than 20 GiB is
// kept back.
func (a *Arguments) Budget() int { return budget(a.Memory) }

func budget(gb int) int {
	mb := gb * 1024
	if gb > 20 {
		mb -= int(float64(mb) * 0.2)
	}
	return mb
}

// mixed says that parameters take half of the bytes of fp32.
func (a *Arguments) mixed() bool { return a.Precision != "fp32" }

// toggle is a switch in the engine's JSON: 0, 1, true or false.
type toggle bool

// UnmarshalJSON reads a number or a boolean.
func (f *toggle) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "0", "false", "null":
		*f = false
	case "1", "true":
		*f = true
	default:
		return fmt.Errorf("%s is no switch: write 0 or 1", data)
	}
	return nil
}

// argumentsFile is the JSON of arguments: the engine's own, in groups, or that of
// recorded cases, which has its short names at the top.
type argumentsFile struct {
	Model       string   `json:"model"`
	Hidden      int      `json:"hidden"`
	Seq         int      `json:"seq"`
	Layers      int      `json:"layers"`
	Memory      int      `json:"mem_gb"`
	TimeMode    Mode     `json:"time_mode"`
	MemoryMode  Mode     `json:"mem_mode"`
	Schedule    Schedule `json:"pipeline_type"`
	AsyncReduce *toggle  `json:"async_grad_reduce"`
	FineGrained *toggle  `json:"fine_grained_mode"`
	Nodes       int      `json:"num_nodes"`
	Devices     int      `json:"num_gpus_per_node"`
	Kind        string   `json:"default_dp_type"`
	Precision   string   `json:"mixed_precision"`
	Profile     string   `json:"profiles"`

	Batch     batchFile `json:"batch"`
	BatchInfo batchFile `json:"batch_size_info"`
	Space     spaceFile `json:"search_space"`
	SpaceInfo spaceFile `json:"search_space_info"`

	ModelInfo struct {
		Model  string `json:"model_size"`
		Hidden int    `json:"hidden_size"`
		Layers int    `json:"num_layers"`
		Seq    int    `json:"seq_length"`
	} `json:"model_info"`
	Parallelism struct {
		Schedule    Schedule `json:"pipeline_type"`
		Kind        string   `json:"default_dp_type"`
		Precision   string   `json:"mixed_precision"`
		AsyncReduce *toggle  `json:"async_grad_reduce"`
	} `json:"parallelism_info"`
	Train struct {
		Seq              int     `json:"seq_length"`
		SequenceParallel *toggle `json:"sequence_parallel"`
		GlobalBuffer     *toggle `json:"global_memory_buffer"`
	} `json:"common_train_info"`
	Hardware struct {
		Nodes   int `json:"num_nodes"`
		Devices int `json:"num_gpus_per_node"`
		Memory  int `json:"memory_constraint"`
	} `json:"hardware_info"`
	Profiling struct {
		TimeMode   Mode `json:"time_profile_mode"`
		MemoryMode Mode `json:"memory_profile_mode"`
	} `json:"profiling_info"`
	Options struct {
		FineGrained *toggle `json:"fine_grained_mode"`
	} `json:"options_info"`
	Debug struct {
		Scale float64 `json:"debug_costmodel_coe"`
	} `json:"debug_info"`
}

type batchFile struct {
	Min           int `json:"min_bsz"`
	Max           int `json:"max_bsz"`
	Step          int `json:"bsz_scale"`
	Settled       int `json:"settle_bsz"`
	SettledChunks int `json:"settle_chunk"`
}

type spaceFile struct {
	DP      toggle  `json:"disable_dp"`
	TP      toggle  `json:"disable_tp"`
	SP      toggle  `json:"disable_sp"`
	CP      *toggle `json:"disable_cp"`
	PP      toggle  `json:"disable_pp"`
	Ckpt    toggle  `json:"disable_ckpt"`
	FSDP    toggle  `json:"disable_fsdp"`
	VocabTP toggle  `json:"disable_embedding_lmhead_tp"`
	VocabSP toggle  `json:"disable_embedding_lmhead_sp"`
	MaxTP   int     `json:"max_tp_deg"`
	MaxPP   int     `json:"max_pp_deg"`
	MaxSP   int     `json:"max_sp_deg"`
	MaxCP   int     `json:"max_cp_deg"`
}

// UnmarshalJSON reads arguments; what they do not say is the engine's default,
// but for the schedule, 1F1B, and ZeRO-2, which the engine's own tests choose.
func (a *Arguments) UnmarshalJSON(data []byte) error {
	var f argumentsFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("galvatron: arguments: %w", err)
	}
	*a = Arguments{
		Model:            cmp.Or(f.Model, f.ModelInfo.Model),
		Hidden:           cmp.Or(f.Hidden, f.ModelInfo.Hidden),
		Seq:              cmp.Or(f.Seq, f.ModelInfo.Seq, f.Train.Seq),
		Layers:           cmp.Or(f.Layers, f.ModelInfo.Layers),
		Nodes:            cmp.Or(f.Nodes, f.Hardware.Nodes, 1),
		Devices:          cmp.Or(f.Devices, f.Hardware.Devices, 8),
		Memory:           cmp.Or(f.Memory, f.Hardware.Memory, 24),
		DefaultKind:      DataParallel(cmp.Or(f.Kind, f.Parallelism.Kind, string(ZeRO2))),
		Schedule:         cmp.Or(f.Schedule, f.Parallelism.Schedule, PipeDreamFlush),
		Precision:        cmp.Or(f.Precision, f.Parallelism.Precision, "bf16"),
		AsyncReduce:      given(true, f.AsyncReduce, f.Parallelism.AsyncReduce),
		SequenceParallel: given(true, f.Train.SequenceParallel),
		GlobalBuffer:     given(true, f.Train.GlobalBuffer),
		FineGrained:      given(true, f.FineGrained, f.Options.FineGrained),
		TimeMode:         cmp.Or(f.TimeMode, f.Profiling.TimeMode, Static),
		MemoryMode:       cmp.Or(f.MemoryMode, f.Profiling.MemoryMode, Static),
		Scale:            cmp.Or(f.Debug.Scale, 1),
		Profile:          f.Profile,
		Batches:          cmp.Or(f.Batch, f.BatchInfo).batches(),
		Space:            cmp.Or(f.Space, f.SpaceInfo).space(),
	}
	return a.validate()
}

// given is the first switch that is there.
func given(usual bool, flags ...*toggle) bool {
	for _, f := range flags {
		if f != nil {
			return bool(*f)
		}
	}
	return usual
}

func (f batchFile) batches() Batches {
	return Batches{Min: cmp.Or(f.Min, 8), Max: cmp.Or(f.Max, 8), Step: cmp.Or(f.Step, 8), Settled: f.Settled, SettledChunks: f.SettledChunks}
}

func (f spaceFile) space() Space {
	return Space{
		DisableDP: bool(f.DP), DisableTP: bool(f.TP), DisableSP: bool(f.SP), DisableCP: given(true, f.CP), DisablePP: bool(f.PP),
		DisableCheckpoint: bool(f.Ckpt), DisableZeRO3: bool(f.FSDP), DisableVocabTP: bool(f.VocabTP), DisableVocabSP: bool(f.VocabSP),
		MaxPP: cmp.Or(f.MaxPP, 8), MaxTP: cmp.Or(f.MaxTP, 8), MaxSP: cmp.Or(f.MaxSP, 8), MaxCP: cmp.Or(f.MaxCP, 8),
	}
}

// maxTries bounds the numbers of micro-batches that are looked at, divisors or not.
const maxTries = 1 << 26

// validate names the first argument that cannot be used.
func (a *Arguments) validate() error {
	world := a.World()
	switch {
	case a.Layers < 1 || a.Layers > most:
		return &ArgumentError{"layers", fmt.Sprintf("%d: a model has at least one layer; lists of layer types are not supported, nor does 3.0 load them", a.Layers)}
	case a.Hidden < 1 || a.Hidden > maxSize:
		return &ArgumentError{"hidden", fmt.Sprintf("%d is no width", a.Hidden)}
	case a.Seq < 1 || a.Seq > maxSize:
		return &ArgumentError{"seq", fmt.Sprintf("%d is no sequence length", a.Seq)}
	case a.Nodes < 1 || a.Devices < 1 || a.Nodes > maxDevices || a.Devices > maxDevices || world > maxDevices || world&(world-1) != 0:
		return &ArgumentError{"num_nodes, num_gpus_per_node", fmt.Sprintf("%d times %d devices: the number must be a power of two, at most %d", a.Nodes, a.Devices, maxDevices)}
	case a.Memory < 1 || a.Memory > maxMB/1024:
		return &ArgumentError{"memory_constraint", fmt.Sprintf("%d GB is no memory", a.Memory)}
	case a.Schedule != GPipe && a.Schedule != PipeDreamFlush:
		return &ArgumentError{"pipeline_type", fmt.Sprintf("%q: gpipe or pipedream_flush", a.Schedule)}
	case a.DefaultKind != DDP && a.DefaultKind != ZeRO2 && a.DefaultKind != ZeRO3:
		return &ArgumentError{"default_dp_type", fmt.Sprintf("%q: ddp, zero2 or zero3", a.DefaultKind)}
	case a.TimeMode != Static && a.TimeMode != Batch && a.TimeMode != Sequence:
		return &ArgumentError{"time_mode", fmt.Sprintf("%q: static, batch or sequence", a.TimeMode)}
	case a.MemoryMode != Static && a.MemoryMode != Sequence:
		return &ArgumentError{"mem_mode", fmt.Sprintf("%q: static or sequence", a.MemoryMode)}
	case max(a.Batches.Settled, a.Batches.Max) > maxBatch:
		return &ArgumentError{"batch", fmt.Sprintf("%d samples are more than are tried", max(a.Batches.Settled, a.Batches.Max))}
	case a.Batches.Settled <= 0 && (a.Batches.Min < 1 || a.Batches.Step < 1):
		return &ArgumentError{"batch", fmt.Sprintf("from %d to %d in steps of %d", a.Batches.Min, a.Batches.Max, a.Batches.Step)}
	case a.Batches.Settled <= 0 && (a.Batches.Max/a.Batches.Step)*a.Batches.Max > maxTries:
		return &ArgumentError{"batch", fmt.Sprintf("from %d to %d in steps of %d are more than are tried: take larger steps", a.Batches.Min, a.Batches.Max, a.Batches.Step)}
	case !(a.Scale > 0 && a.Scale <= maxSeconds):
		return &ArgumentError{"debug_costmodel_coe", fmt.Sprintf("%v is no factor", a.Scale)}
	case a.Profile != "" && (!fs.ValidPath(a.Profile) || strings.Contains(a.Profile, "\\")):
		return &ArgumentError{"profiles", fmt.Sprintf("%.100q leaves the folder of profiles", a.Profile)}
	}
	return nil
}

// sizes lists the batch sizes to try.
func (b Batches) sizes() []int {
	if b.Settled > 0 {
		return []int{b.Settled}
	}
	var list []int
	for n := max(b.Min, b.Step); n <= b.Max; n += b.Step {
		list = append(list, n)
	}
	return list
}

// chunks lists the numbers of micro-batches to try for a batch: divisors only.
func (b Batches) chunks(batch int) []int {
	var list []int
	for m := 1; m <= batch; m++ {
		if batch%m == 0 && (b.SettledChunks <= 0 || m == b.SettledChunks) {
			list = append(list, m)
		}
	}
	return list
}

package galvatron

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Profile is what was measured of one model and one machine, made ready for the
// sizes that the arguments name.
type Profile struct {
	forward line // ms of one layer's forward pass, of samples
	vocab   line // ms of embedding and head, forward, of samples

	parameters float64         // MB of one layer's parameters in fp32
	activation map[int]float64 // MB a sample of one layer, by width
	checkpoint float64         // MB a sample of a checkpointed layer
	whole      vocabMemory     // of embedding and head without a pipeline
	first      vocabMemory     // of the first stage of one
	last       vocabMemory     // of the last

	allReduce map[string]float64 // ms/MB by "ranks_consecutive"
	send      map[int]float64    // ms/MB by pipeline degree
	overlap   float64            // how many times slower computation and communication run beside each other
	gather    map[int]latency    // all-gather by ranks
	exchange  map[int]latency    // all-to-all by ranks
}

// vocabMemory is the MB of embedding and head, by width.
type vocabMemory struct {
	States     map[int]float64 `json:"model_states"`
	Activation map[int]float64 `json:"activation"`
}

// latency is the time of a collective, in ms by message size in MB: as measured,
// or by a line through what was.
type latency struct {
	table map[float64]float64
	line  line
}

func (l latency) at(mb float64) float64 {
	if t, ok := l.table[mb]; ok {
		return t
	}
	return l.line.at(mb)
}

// fewest is how many points a fitted line needs, as in the engine.
const fewest = 8

// ReadProfile reads the profiles of a model and a machine from a folder: the
// files computation_profiling_*.json and memory_profiling_*.json, and
// allreduce_bandwidth, p2p_bandwidth, sp_time and overlap_coefficient beside
// them or in its folder hw.
func ReadProfile(dir fs.FS, a *Arguments) (*Profile, error) {
	p := &Profile{}
	nodes := fmt.Sprintf("_%dnodes_%dgpus_per_node.json", a.Nodes, a.Devices)
	model := fmt.Sprintf("_%s_%s_all.json", a.Precision, a.Model)
	for _, file := range []struct {
		name string
		read func(data []byte, a *Arguments) error
	}{
		{"computation_profiling" + model, p.computation},
		{"memory_profiling" + model, p.memory},
		{"allreduce_bandwidth" + nodes, p.bandwidth},
		{"p2p_bandwidth" + nodes, p.sends},
		{"overlap_coefficient.json", p.overlapping},
		{"sp_time" + nodes, p.collectives},
	} {
		data, err := readFile(dir, file.name)
		if errors.Is(err, fs.ErrNotExist) {
			data, err = readFile(dir, path.Join("hw", file.name))
		}
		if err == nil {
			err = file.read(data, a)
		}
		if err != nil {
			return nil, fmt.Errorf("galvatron: profile %s: %w", file.name, err)
		}
	}
	return p, nil
}

// timing is one entry of a computation profile.
type timing struct {
	batch, seq int
	ms         float64 // a sample
}

// computation reads and fits times of layers and of embedding and head.
func (p *Profile) computation(data []byte, a *Arguments) error {
	layer, err := timings(data, "layertype_0_")
	if err != nil {
		return err
	}
	other, err := timings(data, "layertype_other_")
	if err != nil {
		return err
	}
	if p.forward, err = forwardTime(layer, a, 2); err != nil {
		return fmt.Errorf("layertype_0: %w", err)
	}
	if p.vocab, err = forwardTime(other, a, 1); err != nil {
		return fmt.Errorf("layertype_other: %w", err)
	}
	return nil
}

// timings returns the entries with a prefix, in the order of the file.
func timings(data []byte, prefix string) ([]timing, error) {
	var list []timing
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		var t timing
		rest, ok := strings.CutPrefix(fmt.Sprint(key), prefix)
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(rest, "bsz%d_seq%d", &t.batch, &t.seq); err != nil {
			continue
		}
		if err := json.Unmarshal(value, &t.ms); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// forwardTime is the ms of samples of the sequence length: through one entry, a
// line over batches, or a polynomial over sequence lengths.
func forwardTime(list []timing, a *Arguments, degree int) (line, error) {
	var x, y []float64
	switch a.TimeMode {
	case Static:
		if len(list) == 0 {
			return line{}, errors.New("no entries")
		}
		return line{Slope: list[0].ms}, nil
	case Batch:
		for _, t := range list {
			if t.seq == a.Seq {
				x, y = append(x, float64(t.batch)), append(y, t.ms*float64(t.batch))
			}
		}
		if len(x) < fewest {
			return line{}, fmt.Errorf("%d batch sizes for sequences of %d: a fit needs %d", len(x), a.Seq, fewest)
		}
		return fitLine(x, y), nil
	}
	for _, t := range list {
		if t.batch == 1 {
			x, y = append(x, float64(t.seq)), append(y, t.ms)
		}
	}
	if len(x) <= degree {
		return line{}, fmt.Errorf("%d sequence lengths of batch 1: a fit needs %d", len(x), degree+1)
	}
	sum, power := 0.0, 1.0
	for _, c := range fit(x, y, degree) {
		sum, power = sum+c*power, power*float64(a.Seq)
	}
	return line{Slope: sum}, nil
}

// layerMemory is one sequence length of a layer's memory profile. Keys of
// Activation are widths, and "checkpoint".
type layerMemory struct {
	Parameters float64            `json:"parameter_size"`
	Activation map[string]float64 `json:"tp_activation_per_bsz_dict"`
}

// memory reads the memory of layers and of embedding and head.
func (p *Profile) memory(data []byte, a *Arguments) error {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	suffix := ""
	if a.SequenceParallel {
		suffix = "_sp"
	}
	layers, err := bySeq[layerMemory](file, "layertype_0"+suffix)
	if err != nil {
		return err
	}
	low, seq, scale := a.Seq, a.Seq, 1.0
	if a.MemoryMode == Sequence {
		seqs := slices.Collect(maps.Keys(layers))
		low, seq = slices.Min(seqs), slices.Max(seqs)
		scale = float64(a.Seq) / float64(seq)
	}
	layer, ok := layers[seq]
	if !ok {
		return fmt.Errorf("layertype_0%s: no sequences of %d", suffix, seq)
	}
	p.parameters, p.checkpoint, p.activation = layers[low].Parameters, layer.Activation["checkpoint"]*scale, map[int]float64{}
	for key, mb := range layer.Activation {
		if width, err := strconv.Atoi(key); err == nil {
			p.activation[width] = mb * scale
		}
	}
	for _, x := range []struct {
		key string
		to  *vocabMemory
	}{{"other_memory_pp_off", &p.whole}, {"other_memory_pp_on_first", &p.first}, {"other_memory_pp_on_last", &p.last}} {
		all, err := bySeq[vocabMemory](file, x.key+suffix)
		if err != nil {
			return err
		}
		if *x.to, ok = all[seq]; !ok {
			return fmt.Errorf("%s%s: no sequences of %d", x.key, suffix, seq)
		}
		for width := range x.to.Activation {
			x.to.Activation[width] *= scale
		}
	}
	return nil
}

// bySeq reads an entry with one value a sequence length.
func bySeq[T any](file map[string]json.RawMessage, key string) (map[int]T, error) {
	var m map[int]T
	if len(file[key]) == 0 {
		return nil, fmt.Errorf("no entry %s", key)
	}
	if err := json.Unmarshal(file[key], &m); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if len(m) == 0 {
		return nil, fmt.Errorf("%s: no sequence length", key)
	}
	return m, nil
}

// bandwidth reads the bus bandwidth of all-reduces, GB/s.
func (p *Profile) bandwidth(data []byte, a *Arguments) error {
	var file map[string]float64
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	p.allReduce = map[string]float64{"1_0": 0, "1_1": 0}
	for n := a.World(); n > 1; n /= 2 {
		for consecutive := range 2 {
			key := fmt.Sprintf("allreduce_size_%d_consec_%d", n, consecutive)
			if n == a.World() {
				key = fmt.Sprintf("allreduce_size_%d_consec_1", n)
			}
			rate := file[key]
			if !(rate > 0) {
				return fmt.Errorf("%s: %v is no bandwidth", key, rate)
			}
			p.allReduce[fmt.Sprintf("%d_%d", n, consecutive)] = 1 / rate
		}
	}
	return nil
}

// sends reads the bandwidth between stages, GB/s.
func (p *Profile) sends(data []byte, _ *Arguments) error {
	var file map[string]float64
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	p.send = map[int]float64{}
	for key, rate := range file {
		digits, ok := strings.CutPrefix(key, "pp_size_")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil {
			continue
		}
		if !(rate > 0) {
			return fmt.Errorf("%s: %v is no bandwidth", key, rate)
		}
		p.send[n] = 1 / rate
	}
	return nil
}

// overlapping reads the slow-down of what overlaps.
func (p *Profile) overlapping(data []byte, _ *Arguments) error {
	var file struct {
		Factor float64 `json:"overlap_coe"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	if p.overlap = file.Factor; !(p.overlap > 0) {
		return fmt.Errorf("overlap_coe: %v is no factor", p.overlap)
	}
	return nil
}

// collectives reads times of collectives by size, ms. An all-gather takes half
// of an all-reduce.
func (p *Profile) collectives(data []byte, _ *Arguments) error {
	var file map[string]float64
	if err := json.Unmarshal(data, &file); err != nil {
		return err
	}
	var err error
	if p.gather, err = latencies(file, "allreduce_size_", 0.5); err != nil {
		return err
	}
	p.exchange, err = latencies(file, "all2all_size_", 1)
	return err
}

// latencies returns the times of one collective by ranks.
func latencies(file map[string]float64, prefix string, factor float64) (map[int]latency, error) {
	all := map[int]latency{}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		rest, ok := strings.CutPrefix(key, prefix)
		var ranks, size int
		if _, err := fmt.Sscanf(rest, "%d_%dMB_time", &ranks, &size); !ok || err != nil {
			continue
		}
		if all[ranks].table == nil {
			all[ranks] = latency{table: map[float64]float64{}}
		}
		all[ranks].table[float64(size)] = file[key] * factor
	}
	for ranks, l := range all {
		x := slices.Sorted(maps.Keys(l.table))
		if len(x) < fewest {
			return nil, fmt.Errorf("%s%d: %d sizes: a fit needs %d", prefix, ranks, len(x), fewest)
		}
		y := make([]float64, len(x))
		for i, size := range x {
			y[i] = l.table[size]
		}
		l.line = fitLine(x, y)
		all[ranks] = l
	}
	return all, nil
}

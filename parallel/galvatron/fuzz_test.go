package galvatron

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"slices"
	"testing"
	"testing/fstest"
)

// FuzzArguments shows that arguments that are read are within bounds.
func FuzzArguments(f *testing.F) {
	for _, name := range []string{"3.0-small", "3.0-indivisible", "2.0-small", "vldb-small"} {
		f.Add(seedFile(f, "cases/"+name+"/args.json"))
	}
	for _, text := range []string{
		"null", "{}", `{"layers":4,"hidden":8,"seq":8,"batch":{"min_bsz":1,"max_bsz":1048576,"bsz_scale":1}}`, `{"layers":4,"hidden":8,"seq":8,"profiles":"../../x"}`,
		`{"layers":4,"hidden":8,"seq":8,"num_nodes":65536,"num_gpus_per_node":65536}`, `{"layers":4,"hidden":8,"seq":8,"debug_info":{"debug_costmodel_coe":-1}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a Arguments
		if json.Unmarshal(data, &a) != nil {
			return
		}
		if a.World() < 1 || a.World() > maxDevices || a.Budget() < 0 || a.Profile != "" && !fs.ValidPath(a.Profile) {
			t.Fatalf("accepted %+v", a)
		}
		a.Strategies()
		for _, n := range a.Batches.sizes() {
			if n < 1 || n > maxBatch {
				t.Fatalf("batch %d", n)
			}
		}
	})
}

// FuzzCase shows that no case panics when it is read, and that what is read can
// be priced and, where it is small, searched.
func FuzzCase(f *testing.F) {
	for _, name := range []string{"2.0-small", "3.0-small", "3.0-indivisible", "vldb-small", "vldb-infeasible"} {
		tables := []byte(nil)
		if name != "vldb-infeasible" {
			tables = seedFile(f, "cases/"+name+"/tables.json")
		}
		f.Add(seedFile(f, "cases/"+name+"/args.json"), tables, seedFile(f, "cases/"+name+"/result.json"))
	}
	f.Add([]byte(`{"mem_args":[{"tp_activation_per_bsz_dict":{"1":-9}}],"mem_mb":1048576,"layers":[4096],"strategies":[[1,1,1,{}]],"chunk_table":{"8":{}}}`), []byte(nil), []byte(`{}`))
	f.Add([]byte(`{"mem_args":[{}],"mem_mb":100,"layers":[2],"strategies":[[1,1,1,{}]]}`), []byte(`{"gbsz":8,"strategies":["1-1-1"],"layer_mem_mb":[[-5]],"other_mem_mb":[0],"layer_time_s":[[1]]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, args, tables, result []byte) {
		dir := fstest.MapFS{"args.json": {Data: args}, "result.json": {Data: result}}
		if len(tables) > 0 {
			dir["tables.json"] = &fstest.MapFile{Data: tables}
		}
		c, err := ReadCase(dir, "x")
		if err != nil {
			return
		}
		if c.Theirs != nil {
			_ = c.Theirs.String()
		}
		_ = c.Refused()
		_, _, _ = c.PriceTheirs()
		if short(c) {
			if a, err := c.Solve(); err == nil && slices.Max(a.Memory) > c.Budget {
				t.Fatalf("%v MB of %d", a.Memory, c.Budget)
			}
		}
	})
}

// short says that a case's search is short whatever its figures are.
func short(c *Case) bool {
	if c.early != nil {
		return len(c.early.types())*len(c.early.strategies)*c.early.budget < 1<<20
	}
	layers := 0
	if c.cell == nil || len(c.cell.Names) > 5 || len(c.cell.Vocabs) > 4 {
		return false
	}
	for _, s := range c.cell.Stages {
		layers += s.Layers
	}
	return layers <= 12
}

// FuzzProfile replaces one file of a profile, and searches with what is read.
func FuzzProfile(f *testing.F) {
	const folder = "cases/_profiles/small"
	whole := fstest.MapFS{}
	var names []string
	for _, name := range []string{
		"computation_profiling_bf16_tiny_all.json", "memory_profiling_bf16_tiny_all.json", "hw/allreduce_bandwidth_1nodes_4gpus_per_node.json",
		"hw/overlap_coefficient.json", "hw/p2p_bandwidth_1nodes_4gpus_per_node.json", "hw/sp_time_1nodes_4gpus_per_node.json",
	} {
		data := seedFile(f, path.Join(folder, name))
		whole[name], names = &fstest.MapFile{Data: data}, append(names, name)
		f.Add(uint8(len(names)-1), data)
	}
	f.Add(uint8(3), []byte(`{"overlap_coe":1e308}`))
	f.Add(uint8(2), []byte(`{"allreduce_size_4_consec_1":5e-324}`))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		dir := fstest.MapFS{}
		for name, file := range whole {
			dir[name] = file
		}
		dir[names[int(which)%len(names)]] = &fstest.MapFile{Data: data}
		for _, mode := range []Mode{Static, Batch, Sequence} {
			a := &Arguments{}
			if err := json.Unmarshal([]byte(`{"model":"tiny","layers":2,"hidden":64,"seq":64,"num_gpus_per_node":4,"mem_gb":24,"batch":{"min_bsz":4,"max_bsz":4,"bsz_scale":4}}`), a); err != nil {
				t.Fatal(err)
			}
			a.TimeMode = mode
			if mode != Batch {
				a.MemoryMode = mode
			}
			if p, err := ReadProfile(dir, a); err == nil {
				_, _ = Search(a, p)
			}
		}
	})
}

// seedFile reads a file of the test data.
func seedFile(f *testing.F, name string) []byte {
	f.Helper()
	data, err := os.ReadFile(path.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	return data
}

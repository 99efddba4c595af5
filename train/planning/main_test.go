package planning_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain draws fewer cases than usual where nothing else is asked for: each is
// a search, or compiles several programs.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("25"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

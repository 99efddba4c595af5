package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	training "github.com/galvani-ml/galvani/train"
)

// TestMain is also the main function of the children that tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "bench-child" {
		if err := child(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := training.Work(context.Background(), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is Child with the runners of tests besides.
func child(kind string, in io.Reader, out io.Writer) error {
	if f, ok := fakes[kind]; ok {
		return serve(f, in, out)
	}
	return Child(kind, in, out)
}

// fake is a runner whose step does as told.
type fake struct {
	workload
	step func() (float64, error)
}

func (f fake) Step() (float64, error) { return f.step() }
func (f fake) Close() error           { return nil }

func faking(step func() (float64, error)) func(workload) (Runner, error) {
	return func(w workload) (Runner, error) { return fake{w, step}, nil }
}

var fakes = map[string]func(workload) (Runner, error){
	"fast":   faking(func() (float64, error) { return 2, nil }),
	"slow":   faking(func() (float64, error) { time.Sleep(2 * time.Millisecond); return 2, nil }),
	"slower": faking(func() (float64, error) { time.Sleep(20 * time.Millisecond); return 2, nil }),
	"wrong":  faking(func() (float64, error) { return 2.01, nil }),
	"broken": faking(func() (float64, error) { return 0, errors.New("the step is broken") }),
	"unable": func(workload) (Runner, error) { return nil, errors.New("no such hardware") },
	"crash":  faking(func() (float64, error) { panic("struck by lightning") }),
	"hang":   faking(func() (float64, error) { time.Sleep(time.Hour); return 0, nil }),
}

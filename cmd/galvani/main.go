// Command galvani trains Transformers, evaluates them and generates text.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/galvani-ml/galvani/bench"
	"github.com/galvani-ml/galvani/exec"
	"github.com/galvani-ml/galvani/models"
	"github.com/galvani-ml/galvani/parallel/cluster"
	"github.com/galvani-ml/galvani/train"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command line. A command's fields are its flags and arguments.
type cli struct {
	Train    trainCmd    `cmd:"" help:"Train a model. Without arguments: a small GPT on the source of the Go standard library."`
	Eval     evalCmd     `cmd:"" help:"Validation loss of a model on data."`
	Generate generateCmd `cmd:"" help:"Text from a model."`
	Convert  convertCmd  `cmd:"" help:"Hugging Face directory from a checkpoint, and back, with a check of the logits."`
	Replay   replayCmd   `cmd:"" help:"One recorded step of one worker, run alone in this process, and its bits compared with those recorded."`
	Profile  profileCmd  `cmd:"" help:"What exchanges between workers, products and memory take on this machine, for the planner."`
	Plan     planCmd     `cmd:"" help:"Finds plans, says what they do and why, whether they fit, and in what two differ."`
	Simulate simulateCmd `cmd:"" help:"A step of a plan on a described cluster, played event by event: where its time and memory go, and a timeline."`
	Bench    benchCmd    `cmd:"" help:"Benchmarks."`
	Doctor   doctorCmd   `cmd:"" help:"What this machine has and lacks."`
	Worker   workerCmd   `cmd:"" hidden:"" help:"One worker of a job; started by train."`
	Child    childCmd    `cmd:"" name:"bench-child" hidden:"" help:"One side of a benchmark; started by bench."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the program with its surroundings given.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	// A first signal asks a job to save and stop.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	parser, err := newParser(&cli{}, out, errs)
	if err != nil {
		return fail(errs, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	var file *train.ConfigFileError
	switch {
	case errors.As(err, &file): // the parser names the flag it was looking up
		return fail(errs, file)
	case err != nil:
		printError(errs, err)
		fmt.Fprintln(errs, "Run galvani --help, or --help after a command.")
		return exitUsage
	}
	// A second signal ends the program as usual.
	context.AfterFunc(ctx, cancel)
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(&streams{in, out, errs}); err != nil {
		return fail(errs, err)
	}
	return 0
}

// streams are what a command reads and writes.
type streams struct {
	in        io.Reader
	out, errs io.Writer
}

func newParser(c *cli, out, errs io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("galvani"),
		kong.Description("Galvani trains Transformers in Go."),
		kong.Writers(out, errs),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.Resolvers(configResolver{}),
		kong.Vars{
			"version": version(), "presets": strings.Join(models.Presets(), ", "), "workloads": strings.Join(bench.Workloads(), ", "),
			"predictions": strings.Join(bench.PredictWorkloads(), ", "),
			"passes":      exec.PassNames(), "clusters": strings.Join(cluster.Presets(), ", "), "strategies": train.StrategyNames(),
			"collectives": strings.Join(bench.CommOps(), ","), "planes": strings.Join(bench.CommPlanes(), ","),
		},
	)
}

// usageError is an error in how the program was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// printError prints err, a line for each error it joins.
func printError(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "galvani: %s\n", line)
	}
}

// fail prints err and gives the exit code.
func fail(w io.Writer, err error) int {
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	printError(w, err)
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitFailed
}

// Package simulate plays a training step of a plan on a cluster: a discrete-event
// simulation of the pipeline schedule, of what runs beside what, and of the
// resources that ranks share. It checks what the planner says of a plan in one
// formula (search.Problem.Score and search.Problem.Memory), and shows where the
// time goes.
//
// The package knows no model and no machine. A [Job] says what each [Stage] does
// in a pass, as a list of [Task]s, and what memory its layers take. [Play] gives
// a [Timeline] of all that happens, [Measure] the [Summary] alone. Times are
// seconds, sizes bytes, rates bytes a second.
//
// # Ranks
//
// All ranks of a stage do the same at the same time, so one timeline stands for
// all of them, and a step on thousands of devices costs no more than its stages
// and micro-batches. What they share is counted as often as they use it:
// [Stage.Ranks] of a host's cores, [Exchange.Flows] of a link.
//
// # Computation
//
// A stage goes through the actions of its schedule in order, and through the
// tasks of a pass in order. It ends with Update, in which all stages may meet at
// barriers, as in the norm of the gradient. A forward pass waits for the
// activation of the stage before, a backward pass for the gradient of the stage
// after: not when it begins, but before its first task that the computation does
// or waits for. So gathers of parameters that stand before that task begin while
// the stage waits.
//
// # Exchanges
//
// The exchanges of a rank run one after another beside the computation, in the
// order in which they start, as in package exec. The computation waits for an
// exchange at once, or, if it is [Exchange.Beside] it, where NeededBy says:
//
//	tensor parallelism          not beside
//	parameters gathered ahead   beside, needed by the task that uses them
//	gradients scattered         beside, needed at the end of the pass
//	gradients summed            beside, in the last backward pass (Only: Last), needed by the update
//	sends                       not beside; or beside, needed at the end of the pass or by the update
//
// The message to a neighbour is an exchange of the sender. It waits, and with it
// the exchanges behind it, until the neighbour has taken the one before in the
// same direction: one is buffered. Receiving costs nothing but the wait.
//
// # Shared resources
//
// Rates are fluid: they change whenever something begins or ends. Computations
// share the cores of a host fairly: with a of them under way each gets
// min(1, cores/a) of the speed that it has alone. Flows share a link max-min
// fairly, none faster than its own Rate. While a rank computes and exchanges at
// the same time, both are Overlap times slower; what they leave of a link or of
// cores nobody gets. An exchange's latency takes no part of a link.
//
// Where nothing is shared and nothing slowed down, a step is the longest way
// through what must come one after another, and never gets shorter when a task
// gets longer. With sharing it may: what one stage does later is not in the way
// of another.
//
// # Memory
//
// A forward pass takes the activations of a layer when its first task of it
// begins. A backward pass lets go of those of the layers after the one it is at,
// and of the rest when it ends. While a task runs, its layer's Peak comes on top.
// The most that is held so is what search.Problem.Memory says, if every layer has
// a task that the computation does or waits for, in one of the passes at least.
package simulate

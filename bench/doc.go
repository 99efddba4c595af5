// Package bench measures Galvani beside its peers and beside the limits of the
// machine, and reports [Result]s.
//
// The suite train ([Train]) runs training steps of a GPT on Galvani and on its
// peers: Gorgonia's own TapeMachine (package tape), PyTorch where a Python has it,
// and commands of the user's ([PeerCommand]). It is made to be fair:
//
//   - Galvani and Gorgonia start from the same parameters and see the same data,
//     and the losses they report must agree, so both do the same work. PyTorch
//     trains the same model from parameters of its own: its loss must start near
//     ln V and fall.
//   - Each side runs in a process of its own, so that peak memory is its own and
//     neither pays for the other's garbage. They take turns, round by round, one
//     asleep while the others run, so a change of the machine's speed meets all.
//   - Peers run as they run best: PyTorch with fused attention and AdamW where its
//     version has them, threads that do not fight OpenBLAS's, and a C library that
//     keeps freed memory; no variable pins OpenBLAS to older kernels.
//   - Figures are medians, ratios are taken within a round, and their spread is
//     shown.
//
// The share of the peak is that of multiply-adds in registers, measured in our
// process before and after each turn. Operations are counted by
// [models.FLOPsPerToken], which does not halve causal attention though kernels
// skip the half that is masked: at long sequences and small models it flatters.
//
// The processes of Galvani and Gorgonia are this program again, started as
// "bench-child KIND" ([Child]), which the program's main function must provide
// for; that of PyTorch is a script in Python (python/pytorch.py), which is part of
// the program and speaks the same protocol.
//
// With [TrainOptions].Plans, the suite trains each plan by worker processes over
// a NATS server of this process, as galvani train does ([train.Trial]), in turns
// with one worker that has all threads. Each turn starts the workers anew, and
// steps before the measured ones are not counted. Every loss must be that of one
// worker. [PlanResult] says what the shares of communication and bubble are.
//
// The suite cpu ([CPU]) measures the kernels of package kernel one by one, and
// what the machine can do at most by loops that do nothing else, in the same run;
// matrix products, if asked for, in turns with OpenBLAS (python/openblas.py).
//
// The suite generate ([Generate]) measures the generation of text beside what the
// bandwidth of memory allows.
//
// The suite plan ([Plan]) searches recorded problems of Galvatron's search engines
// by their own formulas (package galvatron) and compares what plans cost, in
// seconds a sample, and what they take of memory.
//
// The suite search ([Search]) searches for models of equal and of unequal layers
// on described clusters, in the planner's whole space and in parts of it, and
// prints the throughput that is predicted.
package bench

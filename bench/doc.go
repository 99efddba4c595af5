// Package bench measures Galvani beside its peers and beside the limits of the
// machine, and reports [Result]s.
//
// The suite train ([Train]) runs training steps of one GPT on Galvani and on
// Gorgonia's own TapeMachine (package tape). It is made to be fair:
//
//   - Both sides start from the same parameters and see the same data, and the
//     losses they report must agree, so both do the same work.
//   - Each side runs in a process of its own, so that peak memory is its own and
//     neither pays for the other's garbage. They take turns, round by round, one
//     asleep while the other runs, so a change of the machine's speed meets both.
//   - Figures are medians, ratios are taken within a round, and their spread is
//     shown.
//
// The processes are this program again, started as "bench-child KIND"
// ([Child]), which the program's main function must provide for.
//
// The suite cpu ([CPU]) measures the kernels of package kernel one by one, and
// what the machine can do at most by loops that do nothing else, in the same run.
package bench

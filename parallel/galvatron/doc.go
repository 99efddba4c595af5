// Package galvatron is a planner for users of Hetu-Galvatron: it reads the
// profiles and search arguments of version 3.0, prices plans by that version's
// formulas, searches, and writes plans in its JSON, so that only the search
// engine changes. [Case] reads recorded problems, of 3.0 and of the two published
// engines before it, with the costs tabulated.
//
// Formulas are theirs with their faults, for only then do costs compare: a step
// of 1F1B counts the first and the last stage only, layout changes are searched
// with but not scored, ZeRO-3 pays one of its two gathers, embeddings pay half of
// their reduction, and a fifth of a budget above 20 GiB is kept back. Two things
// are not kept. Cells whose micro-batch does not divide among the replicas are
// refused ([IndivisibleError]), where the engine rounds samples away. And a stage
// is searched exactly for its time with and without reduction of gradients
// instead of for the time with it alone.
//
// What the formulas leave out shows in plans. Changes of layout are free in the
// score, so plans change layout within a stage where that fills memory better. And
// a slower stage in the middle can lower a score, for it hides the reduction of a
// later one and costs nothing itself: such plans are not sought, so with several
// stages a larger budget may score worse, by part of a reduction.
//
// The method: layers of a model are equal here, so a stage is how many layers
// take which strategy. A stage's front ([front]) holds the ways to run it that no
// other beats in both times; [Cell.Solve] puts the fronts of the stages together;
// [Search] bounds every cell from below by the linear relaxation of its
// stages, solves cells by rising bound and stops where no bound is below the best
// plan found.
//
// Units: times are seconds unless a name says ms, memory is MB of 1024² bytes. Terms: P
// stages, m micro-batches ("chunks"), C_i the time of a micro-batch on stage i
// without reduction of gradients, S_i that of its layers with it.
package galvatron

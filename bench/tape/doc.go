// Package tape is a GPT built of Gorgonia's own operations and run by
// Gorgonia's own TapeMachine: what a user of Gorgonia would write without
// Galvani, and so the baseline of the training benchmark.
//
// It computes what Galvani's GPT with an untied head computes, from as many
// parameters. Choices are made in the baseline's favor: the projections to
// queries, keys and values are three matrices, which need no slicing; the head
// is stored the way its product reads it; rows of embeddings are looked up by
// index rather than by a product with one-hot vectors; the causal mask is
// repeated for each head beforehand; and the targets' one-hot rows hold the
// loss's scale.
//
// Shapes: B sequences, T tokens in a sequence, N = B T, C width, H heads,
// D = C/H width of a head, V vocabulary. Activations are matrices [N, C].
package tape

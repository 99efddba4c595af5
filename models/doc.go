// Package models describes Transformers as graphs: GPT-2 and BERT, with the
// configuration files and tensor names of Hugging Face.
//
// For each model the mathematics is one file (gpt.go, bert.go), read beside
// the paper, and the layout another (gpt_layout.go, bert_layout.go): which
// tensors there are, what checkpoints call them, and in what shape the graph
// sees them. [ParseConfig] reads a config.json and [Preset] gives the sizes of
// published models; [Build] turns either into a [graph.Model] of one
// micro-batch, and [BuildDecoder] into one that generates with a cache of keys
// and values. Nothing here holds values: [InitValue] and [InitShard] compute
// those of a fresh model, any part of any tensor on its own, and the package
// hf beside this one reads and writes those of trained ones.
//
// Layers, which the planner places one by one, are the embedding, the blocks
// and the head: 0, 1 to L, and L+1.
//
// Shapes: B sequences, T tokens in a sequence, C width of the model, H heads,
// D = C/H width of a head, F width of the feed-forward layer, V vocabulary,
// P positions, L blocks, S tokens in the cache.
package models

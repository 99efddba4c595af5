// Package data turns text into training batches.
//
//	corpus ──tokenizer──▶ token file ──split──▶ train ──order──▶ windows ──objective──▶ Batch
//	                     (memory-mapped)  └──▶ validation
//
// [OpenCorpus] finds the documents that a --data value names. [Tokenize] encodes them once, on all cores,
// into a file in the cache that is named by the hash of the text and the tokenizer; [TrainTokenizer] does
// the same for a tokenizer learned from the corpus. [Open] puts a [Dataset] on top of the token file.
//
// A Dataset has no state: a batch is a pure function of the options and the step. So a resumed run needs
// nothing but the step, and every worker can open the same token file ([Dataset.TokensPath]) and fill only
// its own rows.
//
// Shapes: B is the number of sequences in a step over all workers, T the tokens in a sequence, N the
// tokens in the data, V the vocabulary.
package data

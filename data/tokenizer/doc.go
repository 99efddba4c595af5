// Package tokenizer turns text into token ids and back.
//
// Two families are built in, both with the ids of the reference implementations:
//
//   - [BPE], byte-level byte-pair encoding as in GPT-2 (Radford et al. 2019). Any byte string survives
//     a round trip. [TrainBPE] learns one from text.
//   - [WordPiece], BERT's tokenizer (Devlin et al. 2019): clean, lower-case, split on punctuation, then
//     the greedy longest match.
//
// [Load] reads what a Hugging Face model directory holds: tokenizer.json, or vocab.json with merges.txt,
// or vocab.txt. [Save] writes tokenizer.json. A token that was added to the vocabulary, such as
// <|endoftext|> or [MASK], is recognised wherever it stands in the text; tokens that a model wants around
// a sequence, such as [CLS] and [SEP], are never added by Encode.
package tokenizer

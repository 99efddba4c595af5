// Package hf reads and writes models as Hugging Face directories: config.json
// beside tensors in the safetensors format, in one file, model.safetensors, or
// in several with model.safetensors.index.json.
//
// [Open] reads such a directory; [Dir.Check] compares its tensors with a model
// and reports every difference at once; Load and LoadShard read a tensor, or a
// rank's part of it, as float32. Names are those of the parameters of
// package models, whatever prefix the directory has. Other files of the
// directory, as those of the tokenizer, are left alone.
//
// Writers take float32 and keep each bit. Files are written whole beside their
// place, flushed and renamed, so a reader sees the old file or the new one. The
// exception is [SharedFile], which several processes write together, each the
// elements it holds; [WriteIndex] then joins several of them. [OpenTensors]
// reads any set of tensors so written, as the state of an optimizer.
package hf

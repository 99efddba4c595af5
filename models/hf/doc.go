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
// Writers take float32 and keep each bit. Every file is written whole beside
// its place, flushed and renamed, so a reader sees the old file or the new one.
// Several processes may write a part each by [WriteShard]; one of them then
// joins the parts by [WriteIndex]. [OpenTensors] reads any set of tensors so
// written, as the state of an optimizer.
package hf

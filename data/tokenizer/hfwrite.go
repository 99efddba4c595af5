package tokenizer

import (
	"encoding/json"
	"io"
)

// WriteTo writes the tokenizer as tokenizer.json, which Hugging Face's tokenizers read.
func (t *BPE) WriteTo(w io.Writer) (int64, error) {
	useRegex := !t.options.wholeText
	level := hfByteLevel{Type: "ByteLevel", AddPrefixSpace: t.options.addPrefixSpace, TrimOffsets: true, UseRegex: &useRegex}
	after := level
	after.TrimOffsets = false
	model := hfBPE{Type: "BPE", IgnoreMerges: t.options.ignoreMerges, Vocab: t.withoutAdded(), Merges: t.merges}
	if t.options.unk != "" {
		model.UnkToken = &t.options.unk
	}
	return writeHF(w, t.added, nil, level, after, level, model)
}

// withoutAdded is the vocabulary of the model. Added tokens stay in it where the model needs them.
func (t *BPE) withoutAdded() vocab {
	needed := map[string]bool{t.options.unk: true}
	for _, m := range t.merges {
		needed[m.left], needed[m.right], needed[m.left+m.right] = true, true, true
	}
	v := vocab{}
	drop := map[string]bool{}
	for _, a := range t.added {
		drop[a.Content] = !needed[a.Content]
	}
	for name, id := range t.vocab {
		if !drop[name] {
			v[name] = id
		}
	}
	return v
}

// MarshalJSON writes merges as "a b", which every version of tokenizers reads.
func (m hfMerges) MarshalJSON() ([]byte, error) {
	lines := make([]string, len(m))
	for i, rule := range m {
		lines[i] = rule.left + " " + rule.right
	}
	return marshal(lines)
}

// WriteTo writes the tokenizer as tokenizer.json, which Hugging Face's tokenizers read.
func (t *WordPiece) WriteTo(w io.Writer) (int64, error) {
	o := t.options
	norm := hfBertNormalizer{"BertNormalizer", o.cleanText, o.spaceChinese, &o.stripAccents, o.lowercase}
	pre := map[string]string{"type": "BertPreTokenizer"}
	dec := hfWordPieceDecoder{"WordPiece", o.prefix, o.cleanup}
	model := hfWordPiece{"WordPiece", o.unk, o.prefix, o.maxChars, t.vocab}
	return writeHF(w, t.added, norm, pre, t.bertProcessing(), dec, model)
}

// bertProcessing is the post-processor that adds [CLS] and [SEP], or nil when the vocabulary lacks them.
func (t *WordPiece) bertProcessing() any {
	cls, ok := t.vocab["[CLS]"]
	sep, ok2 := t.vocab["[SEP]"]
	if !ok || !ok2 {
		return nil
	}
	return map[string]any{"type": "BertProcessing", "sep": []any{"[SEP]", sep}, "cls": []any{"[CLS]", cls}}
}

func writeHF(w io.Writer, added []AddedToken, normalizer, preTokenizer, postProcessor, decoder, model any) (int64, error) {
	f := hfFile{Version: "1.0", AddedTokens: added}
	if added == nil {
		f.AddedTokens = []AddedToken{}
	}
	for _, part := range []struct {
		to   *json.RawMessage
		from any
	}{{&f.Normalizer, normalizer}, {&f.PreTokenizer, preTokenizer}, {&f.PostProcessor, postProcessor}, {&f.Decoder, decoder}, {&f.Model, model}} {
		raw, err := marshal(part.from)
		if err != nil {
			return 0, err
		}
		*part.to = raw
	}
	raw, err := marshal(f)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(append(raw, '\n'))
	return int64(n), err
}

package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// object is a JSON object whose values are not decoded yet.
type object map[string]json.RawMessage

// has reports whether the key has a value other than null.
func (o object) has(key string) bool {
	v, ok := o[key]
	return ok && string(v) != "null"
}

// schema says what a config.json must and must not hold.
type schema struct {
	required []string
	// fixed are the keys that change the mathematics beyond what is computed here,
	// with the one value supported, as compact JSON.
	fixed map[string]string
	// harmless are the other keys that transformers writes.
	harmless []string
}

// The keys that every configuration of transformers may have.
var common = schema{
	fixed: map[string]string{
		"add_cross_attention": "false",
		"is_encoder_decoder":  "false",
		"pruned_heads":        "{}",
	},
	harmless: []string{
		"_name_or_path", "architectures", "auto_map", "bos_token_id", "chunk_size_feed_forward", "classifier_dropout",
		"dtype", "eos_token_id", "finetuning_task", "gradient_checkpointing", "id2label", "label2id", "model_type",
		"output_attentions", "output_hidden_states", "pad_token_id", "problem_type", "return_dict", "sep_token_id",
		"task_specific_params", "torch_dtype", "torchscript", "transformers_version", "use_cache",
	},
}

// decode fills cfg, which holds the defaults, from the keys of o that match
// its fields to the letter, and checks o against s.
func decode(o object, s schema, cfg any) problems {
	var p problems
	known := fieldsOf(cfg)
	strays := o.strays(s, known)
	for _, key := range s.required {
		if o.has(key) {
			continue
		}
		hint := ""
		for _, stray := range slices.Sorted(maps.Keys(strays)) {
			if strays[stray] == key {
				hint = fmt.Sprintf(" (%q is there)", stray)
			}
		}
		p.addf("%q is missing%s", key, hint)
	}
	for _, fixed := range []map[string]string{common.fixed, s.fixed} {
		for _, key := range slices.Sorted(maps.Keys(fixed)) {
			if have := compact(o[key]); o.has(key) && have != fixed[key] {
				p.addf("%q is %.100s, only %s is supported", key, have, fixed[key])
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !o.has(key) {
			continue
		}
		one, err := json.Marshal(object{key: o[key]})
		if err == nil {
			err = json.Unmarshal(one, cfg)
		}
		if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
			p.addf("%q is a %s, needs %v", key, t.Value, t.Type)
		} else if err != nil {
			p.addf("%q: %v", key, err)
		}
	}
	return p
}

// strays returns the keys that neither known nor s name, each with the key it
// may be a misspelling of, or nothing.
func (o object) strays(s schema, known object) map[string]string {
	names := slices.Collect(maps.Keys(known))
	names = slices.AppendSeq(names, maps.Keys(s.fixed))
	names = slices.AppendSeq(names, maps.Keys(common.fixed))
	names = slices.Concat(names, s.harmless, common.harmless)
	slices.Sort(names)
	strays := map[string]string{}
	for key := range o {
		if !slices.Contains(names, key) {
			strays[key], _ = nearest(key, names)
		}
	}
	return strays
}

// encode returns the keys of o with those of cfg over them. A value that means
// the same is left as it was written.
func (o object) encode(modelType, architecture string, cfg any) ([]byte, error) {
	out := object{"architectures": fmt.Appendf(nil, "[%q]", architecture)}
	maps.Copy(out, o)
	out["model_type"] = fmt.Appendf(nil, "%q", modelType)
	for key, v := range fieldsOf(cfg) {
		if old, ok := o[key]; !ok || !sameJSON(old, v) {
			out[key] = v
		}
	}
	return json.Marshal(out)
}

// fieldsOf returns the JSON fields of a struct without methods.
func fieldsOf(cfg any) object {
	var o object
	data, err := json.Marshal(cfg)
	if err != nil || json.Unmarshal(data, &o) != nil {
		return nil // only for values that JSON has not, as NaN, which problems reports
	}
	return o
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func compact(v json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return string(v)
	}
	return b.String()
}

package sklearn

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"modelbucket/detector/joblib"
)

// Content is one value of a file.
type Content struct {
	Path  string `json:"path"` // as Python would reach it from the root: .steps[0][1].mean_
	Type  string `json:"type"` // sklearn.pipeline.Pipeline
	Value string `json:"value,omitempty"`
}

// What of a file's values is shown: see maxVisits and maxLevels, and of a list or dict
// its first few.
const (
	shownItems = 4
	shownText  = 100 // characters of a name or text
)

// contentsOf lists values, and tells whether there are more.
func contentsOf(root any) ([]Content, bool) {
	w := &contentWriter{}
	w.value("", root, 0)
	return w.all, w.leftOut
}

type contentWriter struct {
	all     []Content
	leftOut bool
}

func (w *contentWriter) value(path string, v any, level int) {
	if len(w.all) >= maxVisits || level > maxLevels {
		w.leftOut = true
		return
	}
	c := Content{Path: path, Type: typeOf(v).String(), Value: shown(v)}
	w.all = append(w.all, c)
	switch v := v.(type) {
	case joblib.Tuple:
		w.items(path, v, level)
	case *joblib.List:
		w.items(path, v.Items, level)
	case *joblib.Array:
		w.items(path, v.Items, level)
	case *joblib.Dict:
		for i, key := range v.Keys {
			if i == shownItems {
				w.leftOut = true
				return
			}
			w.value(path+"["+shown(key)+"]", v.Values[i], level+1)
		}
	case *joblib.Object:
		state, ok := v.State.(*joblib.Dict)
		if !ok {
			return
		}
		for i, key := range state.Keys {
			name, _ := key.(string)
			w.value(path+"."+clipped(name), state.Values[i], level+1)
		}
	}
}

func (w *contentWriter) items(path string, items []any, level int) {
	for i, item := range items {
		if i == shownItems {
			w.leftOut = true
			return
		}
		w.value(path+"["+strconv.Itoa(i)+"]", item, level+1)
	}
}

// shown is a value in a few words.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		return clipped(v.String())
	case float64:
		return floatText(v)
	case string:
		return strconv.QuoteToGraphic(clipped(v))
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	case joblib.Tuple:
		return counting(len(v))
	case *joblib.List:
		return counting(len(v.Items))
	case *joblib.Dict:
		return counting(len(v.Keys))
	case joblib.Global:
		return v.String()
	case *joblib.Array:
		return arrayText(v)
	case *joblib.DType:
		return typeText(v)
	}
	return ""
}

func counting(n int) string {
	if n == 1 {
		return "1 item"
	}
	return fmt.Sprintf("%d items", n)
}

// clipped is text of at most shownText characters.
func clipped(s string) string {
	n := 0
	for i := range s {
		if n++; n > shownText {
			return s[:i] + "…"
		}
	}
	return s
}

func arrayText(a *joblib.Array) string {
	if a.Type == nil {
		return "unfinished"
	}
	dims := make([]string, len(a.Shape))
	for i, d := range a.Shape {
		dims[i] = strconv.Itoa(d)
	}
	shape := strings.Join(dims, ", ")
	if len(dims) == 1 {
		shape += ","
	}
	order := ""
	if a.Fortran && len(dims) > 1 {
		order = ", in Fortran's order"
	}
	return fmt.Sprintf("%s (%s), %d bytes%s", typeText(a.Type), shape, len(a.Data), order)
}

// typeText is numpy's name of a type.
func typeText(d *joblib.DType) string {
	name := map[byte]string{'b': "bool", 'i': "int", 'u': "uint", 'f': "float", 'c': "complex", 'S': "bytes", 'U': "str", 'O': "object", 'V': "void"}[d.Kind]
	switch d.Kind {
	case 'i', 'u', 'f', 'c', 'S', 'U':
		name += strconv.Itoa(8 * d.Size)
	case 'V':
		fields := make([]string, min(len(d.Fields), 2*shownItems))
		for i := range fields {
			fields[i] = clipped(d.Fields[i].Name)
		}
		name = fmt.Sprintf("record of %d bytes (%s)", d.Size, strings.Join(fields, ", "))
	}
	if d.BigEndian {
		name += " big-endian"
	}
	return name
}

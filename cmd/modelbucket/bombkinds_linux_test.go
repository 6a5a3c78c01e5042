package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// The kinds of bombs. A file that looks like no detector is kept as it is; here all are
// published with names of features, so that the node has to say that it is none.

// publishes is the bomb that is a file.
func publishes(name string, file []byte) bomb {
	return bomb{
		name: name, method: "POST", path: bombed + "/versions?features=packet_count",
		body: bytes.NewReader(file), length: int64(len(file)), want: []int{400},
	}
}

const (
	pickle4   = "\x80\x04"
	aForest   = "csklearn.ensemble._iforest\nIsolationForest\n)\x81"
	fileBytes = 1 << 30 // of what bombs unpack to
)

// packedZeros packs a pickle that wants a gibibyte of zeros.
func packedZeros(t *testing.T, pack func(io.Writer) flushWriter) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pack(&b)
	write := func(p []byte) {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	zeros := make([]byte, 4<<20)
	write(binary.LittleEndian.AppendUint64([]byte(pickle4+"\x8e"), fileBytes))
	write(zeros)
	from := b.Len()
	write(zeros) // what it became does for all that follow
	block := bytes.Clone(b.Bytes()[from:])
	for range fileBytes/len(zeros) - 2 {
		b.Write(block)
	}
	return b.Bytes()
}

type flushWriter interface {
	io.Writer
	Flush() error
}

func fileBombs(t *testing.T) []bomb {
	t.Helper()
	read := func(path string) []byte {
		b, err := os.ReadFile(filepath.Join("../../detector/joblib/testdata", path))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bombs := []bomb{
		publishes("zlib of 1 GiB of zeros", packedZeros(t, func(w io.Writer) flushWriter { return zlib.NewWriter(w) })),
		publishes("gzip of 1 GiB of zeros", packedZeros(t, func(w io.Writer) flushWriter { return gzip.NewWriter(w) })),
		publishes("lz4 of 1 GiB of zeros", packedZeros(t, func(w io.Writer) flushWriter { return lz4.NewWriter(w) })),
	}
	for _, name := range []string{"bz2", "xz", "lzma"} {
		bombs = append(bombs, publishes(name+" of 200 MiB of zeros", read("containers/bombs/"+name+".joblib")))
	}
	window := read("containers/xz.joblib") // a byte of its block's head, with a checksum behind
	window[16] = 40
	binary.LittleEndian.PutUint32(window[20:], crc32.ChecksumIEEE(window[12:20]))
	old := read("containers/lzma.joblib")
	binary.LittleEndian.PutUint32(old[1:], 1<<32-1<<8)
	var member bytes.Buffer
	if err := gzip.NewWriter(&member).Close(); err != nil {
		t.Fatal(err)
	}
	text := func(parts ...string) []byte { return []byte(strings.Join(parts, "")) }
	bombs = append(bombs,
		publishes("xz with a window of 4 GiB", window),
		publishes("lzma with a window of 4 GiB", old),
		publishes("gzip of a million empty members", bytes.Repeat(member.Bytes(), 1_000_000)),
		publishes("zlib with a dictionary of its own", text("\x78\xbb\x00\x00\x00\x01", strings.Repeat("\x00", 64))),
		publishes("five million marks", text(pickle4, strings.Repeat("(", 5_000_000), ".")),
		publishes("an integer of 400,000 digits", text(pickle4, "L", strings.Repeat("9", 400_000), "L\n.")),
		publishes("a memo at 2^32-1", text(pickle4, "Nr\xff\xff\xff\xff.")),
		publishes("ten thousand lists in one another", text(pickle4, strings.Repeat("]", 10_000), strings.Repeat("a", 9_999), ".")),
		publishes("30 pairs of pairs", text(pickle4, "N", strings.Repeat("2\x86", 30), ".")),
		publishes("a million trees", text(pickle4, aForest, "}(\x8c\x0bestimators_](", strings.Repeat(strings.Repeat("K\x01", 1000)+"e(", 1000), "e",
			"\x8c\x0en_features_in_K\x03\x8c\x0d_max_featuresK\x03\x8c\x0cmax_samples_K\x01\x8c\x07offset_G\x00\x00\x00\x00\x00\x00\x00\x00ub.")),
		publishes("three million nodes of zeros", hugeTree(t)),
	)
	for _, hostile := range []string{
		"bomb-bz2", "double-gzip", "length-long4", "length-bytes8", "length-unicode8", "frame-huge", "laughs", "decimal-huge", "memo-index", "mark-flood",
		"cycle-pipeline", "deep-tuple", "shape-overflow-small", "shape-huge", "shape-zero-huge", "shape-dims", "dtype-void", "dtype-text", "tree-chain", "tree-self", "tree-two-parents",
	} {
		bombs = append(bombs, publishes("hostile file "+hostile, read("hostile/"+hostile+".joblib")))
	}
	return bombs
}

// hugeTree is an array of 192 MiB of zeros where the nodes of a tree belong, well packed.
func hugeTree(t *testing.T) []byte {
	t.Helper()
	const nodes = 24 << 20
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	head := pickle4 + "cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x08subclasscnumpy\nndarray\n\x8c\x05shapeJ" +
		string(binary.LittleEndian.AppendUint32(nil, nodes)) + "\x85\x8c\x05order\x8c\x01C\x8c\x05dtype" +
		"cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" +
		"\x8c\nallow_mmap\x89\x8c\x1bnumpy_array_alignment_bytesK\x10ub"
	padding := 15 - len(head)%16
	for _, part := range []io.Reader{
		strings.NewReader(head), strings.NewReader(string(rune(padding)) + strings.Repeat("\xff", padding)), many(nodes, "\x00\x00\x00\x00\x00\x00\x00\x00"), strings.NewReader("."),
	} {
		if _, err := io.Copy(w, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jsonBombs() []bomb {
	patch := func(name string, want int, parts ...io.Reader) bomb {
		return sized(bomb{name: name, method: "PATCH", path: bombed, headers: []string{"Content-Type: application/json"}, want: []int{want}}, parts...)
	}
	text := strings.NewReader
	stream := func(name string, want int, body io.Reader) bomb {
		return bomb{name: name, method: "PATCH", path: bombed, headers: []string{"Content-Type: application/json"}, body: body, length: chunked, want: []int{want}}
	}
	var keys, tags strings.Builder
	for i := range 80_000 {
		fmt.Fprintf(&keys, `,"%06x":1`, i)
		fmt.Fprintf(&tags, `,"%x":""`, i)
	}
	return []bomb{
		patch("JSON a million deep", 400, many(1_000_000, "[")),
		patch("JSON objects 170,000 deep", 400, many(170_000, `{"a":`)),
		patch("JSON of 80,000 keys", 400, text(`{"a":1`), text(keys.String()), text(`}`)),
		patch("80,000 tags", 400, text(`{"tags":{"a":""`), text(tags.String()), text(`}}`)),
		patch("a tag of 10 MiB", 413, text(`{"tags":{"a":"`), many(10<<20, "x"), text(`"}}`)),
		patch("a number of 1 MB", 400, text(`{"description":`), many(1_000_000, "1"), text(`}`)),
		patch("a number of 5 MB", 413, text(`{"description":`), many(5_000_000, "1"), text(`}`)),
		stream("a number without end", 413, forever(`{"description":`, "1")),
		stream("a string without end", 413, forever(`{"description":"`, "x")),
		stream("a string of escapes without end", 413, forever(`{"description":"`, `\u0000`)),
		stream("white space without end", 413, forever(`{`, " \n")),
		patch("a key of 1 MB", 400, text(`{"`), many(1_000_000, "k"), text(`":1}`)),
	}
}

func eventBombs() []bomb {
	detect := func(name, kind string, want int, body io.Reader) bomb {
		return bomb{name: name, method: "POST", path: bombed + "/detect", headers: []string{"Content-Type: " + kind}, body: body, length: chunked, want: []int{want}}
	}
	secure := func(b bomb) bomb {
		b.name, b.path = "SecureNet's: "+b.name, "/models/fraud/detect?tenant_id=acme"
		return b
	}
	const json, lines, table = "application/json", "application/x-ndjson", "text/csv"
	text := strings.NewReader
	var wide strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&wide, `,"f%d":1`, i)
	}
	million := func() io.Reader {
		return io.MultiReader(text(`[{"packet_count":1}`), many(999_999, `,{"packet_count":1}`), text(`]`))
	}
	train := bomb{name: "a billion trees", method: "POST", path: bombed + "/train?n_estimators=1000000000", headers: []string{"Content-Type: text/csv"}, body: text("a\n1\n2\n"), length: 6, want: []int{400}}
	return []bomb{
		detect("an event of 1 GiB in chunks", json, 413, forever(`[{"a":"`, "x")),
		detect("a number of 1 GiB in an event", json, 413, forever(`[{"packet_count":`, "1")),
		detect("an event a million deep", json, 400, forever(`[{"a":`, "[")),
		detect("events of brackets", json, 400, forever(``, "[")),
		detect("a million events of one feature", json, 413, million()),
		secure(detect("a million events of one feature", json, 413, million())),
		detect("an event of a million features", json, 413, io.MultiReader(text(`[{"a":1`), text(wide.String()), text(`}]`))),
		secure(detect("an event of a million features", json, 413, io.MultiReader(text(`[{"a":1`), text(wide.String()), text(`}]`)))),
		detect("members beside the events without end", json, 413, forever(`{"a":"`, "x")),
		detect("a line without end", lines, 413, forever(`{"a":"`, "x")),
		detect("a table of a million columns", table, 413, io.MultiReader(text("a"), many(1_000_000, ",column"), text("\n1\n"))),
		detect("a quotation without end", table, 413, forever("a,b\n1,\"", "x\n")),
		detect("commas without end", table, 413, forever("a,b\n", ",")),
		detect("a million chunks of a byte", json, 413, nil).asChunks(many(1_100_000, "1\r\nx\r\n"), "2\r\n[\"\r\n"),
		detect("a chunk extension without end", json, 400, nil).asChunks(forever("1;", "x"), ""),
		detect("trailers without end", json, 400, nil).asChunks(forever("2\r\n[]\r\n0\r\n", "x: y\r\n"), ""),
		{name: "a packed body", method: "POST", path: bombed + "/detect", headers: []string{"Content-Type: application/json", "Content-Encoding: gzip"}, body: forever("\x1f\x8b", "\x00"), length: chunked, want: []int{415}},
		{name: "four exbibytes, announced", method: "POST", path: bombed + "/detect", headers: []string{"Content-Type: application/json"}, body: forever("[", " "), length: 1 << 62, want: []int{413}},
		train,
	}
}

// asChunks gives the bomb a body that brings its chunks along.
func (b bomb) asChunks(body io.Reader, first string) bomb {
	b.headers = append(b.headers, "Transfer-Encoding: chunked", "")
	b.body, b.length = io.MultiReader(strings.NewReader(first), body), asItIs
	return b
}

func formBombs() []bomb {
	form := func(name string, want int, body io.Reader) bomb {
		return bomb{name: name, method: "POST", path: bombed + "/versions", headers: []string{"Content-Type: multipart/form-data; boundary=b"}, body: body, length: chunked, want: []int{want}}
	}
	boundary := func(n int, want ...int) bomb {
		return bomb{name: fmt.Sprintf("a form's boundary of %d characters", n), method: "POST", path: bombed + "/versions",
			headers: []string{"Content-Type: multipart/form-data; boundary=" + strings.Repeat("b", n)}, body: forever("--", "b"), length: chunked, want: want}
	}
	const metadata = "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n"
	const part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%d\"\r\n\r\nx\r\n"
	var parts, aliases, tags strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&parts, part, i)
	}
	for i := range 90_000 {
		fmt.Fprintf(&aliases, `,"a%x"`, i)
		fmt.Fprintf(&tags, `,"%x":""`, i)
	}
	text := strings.NewReader
	return []bomb{
		form("a form of 10,000 parts", 400, text(parts.String())),
		form("a form of 10,000 parts without names", 400, many(10_000, "--b\r\n\r\n\r\n")),
		form("text before a form without end", 400, forever("", "x")),
		form("lines before a form without end", 400, forever("", "\r\n")),
		form("text behind a form without end", 400, forever(metadata+"{}\r\n"+fmt.Sprintf(part, 1)+"--b--\r\n", "x")),
		form("a part's headers without end", 400, forever("--b\r\n", "X: y\r\n")),
		form("a header of a part without end", 400, forever("--b\r\nX: ", "y")),
		form("a form's metadata without end", 413, forever(metadata+`{"description":"`, "x")),
		form("a label of 1 MB", 400, io.MultiReader(text(metadata+`{"label":"`), many(1_000_000, "x"), text("\"}\r\n--b--\r\n"))),
		form("90,000 aliases", 400, text(metadata+`{"aliases":["a"`+aliases.String()+"]}\r\n--b--\r\n")),
		form("90,000 tags", 400, text(metadata+`{"tags":{"a":""`+tags.String()+"}}\r\n--b--\r\n")),
		boundary(71, 400),
		boundary(1<<20, 431),
	}
}

func headBombs() []bomb {
	get := func(name, path string, want int, headers ...string) bomb {
		return bomb{name: name, method: "GET", path: path, headers: headers, want: []int{want}}
	}
	var lines []string
	for i := range 10_000 {
		lines = append(lines, fmt.Sprintf("X-%d: y", i))
	}
	ranges := "Range: bytes=0-0" + strings.Repeat(",0-0", 1000)
	return []bomb{
		get("10,000 headers", bombed, 431, lines...),
		get("a header of 1 MiB", bombed, 431, "X: "+strings.Repeat("y", 1<<20)),
		get("a path of 1 MiB", bombed+"/versions/"+strings.Repeat("x", 1<<20), 431),
		get("a path of 8 KiB", bombed+"/versions/"+strings.Repeat("x", 8<<10), 400),
		get("a page token of 8 KiB", "/v1/tenants/acme/models?after="+strings.Repeat("x", 8<<10), 400),
		get("a page token of 1 MiB", "/v1/tenants/acme/models?after="+strings.Repeat("x", 1<<20), 431),
		get("2,000 parameters", bombed+"/versions?a=1"+strings.Repeat("&a=1", 2000), 400),
		get("a thousand ranges", bombed+"/versions/1/files/model.joblib", 200, ranges), // the file once, as RFC 9110 allows
		get("2,000 entity tags", bombed+"/versions/1", 200, `If-None-Match: "a"`+strings.Repeat(`,"b"`, 2000)),
	}
}

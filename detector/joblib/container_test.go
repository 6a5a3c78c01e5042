package joblib_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"modelbucket/detector/joblib"
)

// containers hold the same, packed by Python.
var containers = []string{"zlib", "gzip", "bz2", "xz", "lzma", "lz4"}

func packed(t testing.TB, container string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/containers", container+".joblib"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// small names a container with no more than a list in it, whole one with a forest.
const (
	small = "small-"
	whole = ""
)

// plain is what they hold.
func plain(t testing.TB, content string) []byte {
	t.Helper()
	z, err := zlib.NewReader(bytes.NewReader(packed(t, content+"zlib")))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameFile compares what was read; instances in it are shared, and some contain others
// many times over.
func sameFile(t *testing.T, want, got *joblib.File) {
	t.Helper()
	want.Container, got.Container = "", ""
	if diff := cmp.Diff(want, got, compared, cmp.AllowUnexported(joblib.File{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestContainers(t *testing.T) {
	want, err := joblib.Read(bytes.NewReader(plain(t, whole)), limit)
	if err != nil || want.Container != "none" {
		t.Fatalf("packed by %q: %v", want.Container, err)
	}
	for _, name := range containers {
		t.Run(name, func(t *testing.T) {
			got, err := joblib.Read(bytes.NewReader(packed(t, name)), limit)
			if err != nil {
				t.Fatal(err)
			}
			if got.Container != name {
				t.Errorf("told as %s", got.Container)
			}
			sameFile(t, want, got)
		})
	}
	if want.Size != 6269 || want.JoblibVersion() != ">=1.2" || !cmp.Equal(want.Protocols, []int{4}) || want.Arrays < 4 || want.Unpadded != 0 {
		t.Errorf("%d bytes of protocols %v by joblib %s with %d arrays, %d of them not padded", want.Size, want.Protocols, want.JoblibVersion(), want.Arrays, want.Unpadded)
	}
}

// A file that ends early is refused wherever it does, and so is one that goes on.
func TestTruncatedContainers(t *testing.T) {
	for _, name := range append([]string{"none"}, containers...) {
		b := plain(t, small)
		if name != "none" {
			b = packed(t, small+name)
		}
		for n := range b {
			if _, err := joblib.Read(bytes.NewReader(b[:n]), limit); !errors.Is(err, joblib.ErrMalformed) {
				t.Errorf("%s: the first %d bytes: %v, want ErrMalformed", name, n, err)
			}
		}
		for more, second := range map[string][]byte{"a byte": {0}, "another": b, "four bytes": {0, 0, 0, 0}} {
			if _, err := joblib.Read(bytes.NewReader(append(bytes.Clone(b), second...)), limit); !errors.Is(err, joblib.ErrMalformed) {
				t.Errorf("%s: with %s behind: %v, want ErrMalformed", name, more, err)
			}
		}
	}
}

// A flipped bit is found by those that have a checksum, but for the bits of their heads
// that mean nothing. The others refuse it, or hold something else, of the same bounds.
func TestFlippedBits(t *testing.T) {
	want, err := joblib.Read(bytes.NewReader(plain(t, small)), limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range containers {
		b := packed(t, small+name)
		accepted := 0
		for i := range 8 * len(b) {
			b[i/8] ^= 1 << (i % 8)
			got, err := joblib.Read(bytes.NewReader(b), limit)
			b[i/8] ^= 1 << (i % 8)
			if err != nil {
				if !errors.Is(err, joblib.ErrMalformed) && !errors.Is(err, joblib.ErrUnsupported) && !errors.Is(err, joblib.ErrTooLarge) {
					t.Errorf("%s: bit %d: %v", name, i, err)
				}
				continue
			}
			accepted++
			if name != "lzma" && name != "lz4" {
				got.Container = want.Container
				sameFile(t, want, got)
			}
		}
		t.Logf("%s: %d of %d flips are not found", name, accepted, 8*len(b))
	}
}

// allocated is what f allocates in all, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zeros are n bytes that pack well, in a pickle.
func zeros(n int64) io.Reader {
	head := binary.LittleEndian.AppendUint64([]byte(proto+"\x8e"), uint64(n))
	return io.MultiReader(bytes.NewReader(head), io.LimitReader(zero{}, n), strings.NewReader("."))
}

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A small file that unpacks to 200 MiB is given up long before.
func TestBombs(t *testing.T) {
	const size = 200 << 20
	bombs := map[string][]byte{}
	for name, open := range map[string]func(io.Writer) io.WriteCloser{
		"zlib": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"lz4":  func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) },
	} {
		var b bytes.Buffer
		w := open(&b)
		if _, err := io.Copy(struct{ io.Writer }{w}, zeros(size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		bombs[name] = b.Bytes()
	}
	for _, name := range []string{"bz2", "xz", "lzma"} {
		bombs[name] = packed(t, filepath.Join("bombs", name))
	}
	for _, name := range containers {
		var err error
		got := allocated(func() { _, err = joblib.Read(bytes.NewReader(bombs[name]), 1<<28) })
		if !errors.Is(err, joblib.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
		t.Logf("%s: %d bytes allocated for a file of %d", name, got, len(bombs[name]))
		if got > 64<<20+uint64(2*len(bombs[name])) {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(bombs[name]))
		}
	}
}

// What a head asks for is not given before it is needed.
func TestWindows(t *testing.T) {
	lzma := packed(t, "lzma")
	ask := func(window uint32) []byte {
		b := bytes.Clone(lzma)
		binary.LittleEndian.PutUint32(b[1:], window)
		return b
	}
	// xz has its window in a byte of the block's head, and a checksum behind.
	askXZ := func(window byte) []byte {
		b := packed(t, "xz")
		if b[12] != 2 || b[14] != 0x21 {
			t.Fatal("another head than expected")
		}
		b[16] = window
		binary.LittleEndian.PutUint32(b[20:], crc32.ChecksumIEEE(b[12:20]))
		return b
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"lzma of 4 GiB", ask(1<<32 - 1<<8), joblib.ErrTooLarge},
		{"lzma of a little more than 64 MiB", ask(64<<20 + 1<<8), joblib.ErrTooLarge},
		{"lzma of 64 MiB", ask(64 << 20), nil},
		{"xz of 4 GiB", askXZ(40), joblib.ErrTooLarge},
		{"xz of 96 MiB", askXZ(29), joblib.ErrTooLarge},
		{"xz of 64 MiB", askXZ(28), nil},
		{"xz of what there is not", askXZ(41), joblib.ErrMalformed},
	} {
		var err error
		got := allocated(func() { _, err = joblib.Read(bytes.NewReader(c.file), 1<<28) })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if got > 16<<20 {
			t.Errorf("%s: %d bytes allocated", c.name, got)
		}
	}
}

// xzOf packs a whole file.
func xzOf(t *testing.T, c xz.WriterConfig) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain(t, whole)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// xz files of several blocks could ask for a window each.
func TestManyBlocks(t *testing.T) {
	if _, err := joblib.Read(bytes.NewReader(xzOf(t, xz.WriterConfig{BlockSize: 1000})), limit); !errors.Is(err, joblib.ErrMalformed) || !strings.Contains(err.Error(), "several blocks") {
		t.Errorf("%v, want ErrMalformed for several blocks", err)
	}
}

// Each checksum that an xz file may have counts.
func TestXZChecksums(t *testing.T) {
	for name, check := range map[string]byte{"CRC-32": xz.CRC32, "CRC-64": xz.CRC64, "SHA-256": xz.SHA256, "none": xz.None} {
		damaged := xzOf(t, xz.WriterConfig{CheckSum: check, NoCheckSum: check == xz.None})
		if _, err := joblib.Read(bytes.NewReader(damaged), limit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		damaged[len(damaged)-30] ^= 1 // in the checksum, or before
		if _, err := joblib.Read(bytes.NewReader(damaged), limit); !errors.Is(err, joblib.ErrMalformed) {
			t.Errorf("%s, damaged: %v", name, err)
		}
	}
}

// FuzzContainers: whatever the bytes are, they are unpacked or refused by one of the
// three errors, and no more comes out than may.
func FuzzContainers(f *testing.F) {
	for _, name := range containers {
		f.Add(packed(f, name))
		f.Add(packed(f, small+name))
	}
	for _, name := range []string{"bz2", "xz", "lzma"} {
		f.Add(packed(f, filepath.Join("bombs", name)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		got := allocated(func() { _, err = joblib.Read(bytes.NewReader(b), 1<<21) })
		if err != nil && !errors.Is(err, joblib.ErrMalformed) && !errors.Is(err, joblib.ErrUnsupported) && !errors.Is(err, joblib.ErrTooLarge) {
			t.Errorf("an error of no kind: %v", err)
		}
		if got > 48<<20 {
			t.Errorf("%d bytes allocated for a file of %d", got, len(b))
		}
	})
}

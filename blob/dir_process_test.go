package blob_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelbucket/blob"
)

// The tests of several processes run this test program again, with the name of a job
// in the environment.
const jobVariable = "BLOB_TEST_JOB"

var jobs = map[string]func(d *blob.Dir) error{"race": raceJob, "write": writeJob, "full": fullJob}

func TestMain(m *testing.M) {
	name, path, _ := strings.Cut(os.Getenv(jobVariable), " ")
	if name == "" {
		os.Exit(m.Run())
	}
	d, err := blob.OpenDir(path)
	if err == nil {
		err = jobs[name](d)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name, err)
		os.Exit(1)
	}
}

func job(t *testing.T, name, path string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program)
	c.Env = append(os.Environ(), jobVariable+"="+name+" "+path)
	c.Stderr = os.Stderr
	return c
}

const raceKeys, raceAdds, raceWriters = 60, 25, 4

func store(d *blob.Dir, key, data string, o blob.PutOptions) (blob.Object, error) {
	o.Size = int64(len(data))
	return d.Put(context.Background(), key, strings.NewReader(data), o)
}

func load(d *blob.Dir, key string) (string, blob.Object, error) {
	body, o, err := d.Get(context.Background(), key, blob.Range{})
	if err != nil {
		return "", o, err
	}
	defer body.Close()
	s := bufio.NewScanner(body)
	s.Scan()
	return s.Text(), o, s.Err()
}

// raceJob creates keys that others create too, and adds to a counter, while folders
// beside them come and go. It prints the keys that it won.
func raceJob(d *blob.Dir) error {
	var wg sync.WaitGroup
	errs := make(chan error, 3*raceWriters)
	for range raceWriters {
		wg.Go(func() {
			for i := range raceKeys {
				key := fmt.Sprintf("race/%d/k", i)
				_, err := store(d, key, fmt.Sprint(os.Getpid()), blob.PutOptions{IfAbsent: true})
				if err == nil {
					fmt.Println(key)
				} else if !errors.Is(err, blob.ErrPrecondition) {
					errs <- err
				}
			}
		})
		wg.Go(func() {
			for n := 0; n < raceAdds; {
				text, o, err := load(d, "counter")
				if err != nil {
					errs <- err
					return
				}
				value, err := strconv.Atoi(text)
				if err != nil {
					errs <- err
					return
				}
				_, err = store(d, "counter", strconv.Itoa(value+1), blob.PutOptions{IfMatch: o.ETag})
				if err == nil {
					n++
				} else if !errors.Is(err, blob.ErrPrecondition) {
					errs <- err
					return
				}
			}
		})
		wg.Go(func() {
			for i := range raceKeys {
				key := fmt.Sprintf("race/%d/beside/%d", i, i)
				_, err := store(d, key, "x", blob.PutOptions{})
				if err = errors.Join(err, d.Delete(context.Background(), key)); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func TestDirProcessesRace(t *testing.T) {
	const processes = 3
	path := t.TempDir()
	d := openDir(t, path)
	put(t, d, "counter", "0")
	var wg sync.WaitGroup
	won := make([]string, processes)
	for i := range processes {
		c := job(t, "race", path)
		wg.Go(func() {
			out, err := c.Output()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			won[i] = string(out)
		})
	}
	wg.Wait()
	winners := map[string]int{}
	for _, out := range won {
		for key := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
			winners[key]++
		}
	}
	for i := range raceKeys {
		if key := fmt.Sprintf("race/%d/k", i); winners[key] != 1 {
			t.Errorf("%s has %d winners", key, winners[key])
		}
	}
	if text, want := mustLoad(t, d, "counter"), strconv.Itoa(processes*raceWriters*raceAdds); text != want {
		t.Errorf("counter: %s, want %s", text, want)
	}
}

func mustLoad(t *testing.T, d *blob.Dir, key string) string {
	t.Helper()
	text, _, err := load(d, key)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return text
}

// writeJob writes until it is killed, and says what was answered.
func writeJob(d *blob.Dir) error {
	for i := 0; ; i++ {
		if _, err := store(d, fmt.Sprintf("new/%d/k", i), fmt.Sprint("value ", i), blob.PutOptions{IfAbsent: true}); err != nil {
			return err
		}
		if _, err := store(d, "same", fmt.Sprint("value ", i), blob.PutOptions{}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// A process that is killed loses nothing that was answered, shows nothing half-written
// and holds no lock.
func TestDirKill(t *testing.T) {
	for round := range 8 {
		path := t.TempDir()
		c := job(t, "write", path)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		last, lines := -1, bufio.NewScanner(out)
		for lines.Scan() {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if last == 3+7*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.Wait() // killed
		d := openDir(t, path)
		for i := range last + 1 {
			if text := mustLoad(t, d, fmt.Sprintf("new/%d/k", i)); text != fmt.Sprint("value ", i) {
				t.Errorf("key %d holds %q", i, text)
			}
		}
		text := mustLoad(t, d, "same")
		if n, err := strconv.Atoi(strings.TrimPrefix(text, "value ")); err != nil || n < last || n > last+1 {
			t.Errorf("the key written again and again holds %q, the last answer was %d", text, last)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := d.Put(ctx, "same", strings.NewReader("x"), blob.PutOptions{Size: 1}); err != nil {
			t.Errorf("Put afterwards: %v", err)
		}
		cancel()
	}
}

// fullJob meets a limit of the file size, as an easy stand-in for a full disk.
func fullJob(d *blob.Dir) error {
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if _, err := store(d, "old", "small", blob.PutOptions{}); err != nil {
		return err
	}
	for _, key := range []string{"old", "new"} {
		if _, err := store(d, key, strings.Repeat("x", 3<<20), blob.PutOptions{}); !errors.Is(err, blob.ErrFull) {
			return fmt.Errorf("%v, want %w", err, blob.ErrFull)
		}
	}
	return nil
}

func TestDirFull(t *testing.T) {
	path := t.TempDir()
	if err := job(t, "full", path).Run(); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, path)
	if text := mustLoad(t, d, "old"); text != "small" {
		t.Errorf("old holds %q", text)
	}
	if _, err := d.Stat(t.Context(), "new"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("new: %v", err)
	}
	if left := names(t, path+"/tmp"); len(left) > 0 {
		t.Errorf("tmp holds %q", left)
	}
}

// Two Dirs of one process exclude each other as two processes do.
func TestDirTwice(t *testing.T) {
	path := t.TempDir()
	one, two := openDir(t, path), openDir(t, path)
	at := put(t, one, "n", "0")
	for i := range 50 {
		var wg sync.WaitGroup
		results := make([]error, 8)
		var next blob.Object
		for j := range results {
			wg.Go(func() {
				o, err := store([]*blob.Dir{one, two}[j%2], "n", fmt.Sprint(i, j), blob.PutOptions{IfMatch: at.ETag})
				if err == nil {
					next = o // only one may get here; the race detector watches
				}
				results[j] = err
			})
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !errors.Is(err, blob.ErrPrecondition) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d has %d winners", i, won)
		}
		at = next
	}
}

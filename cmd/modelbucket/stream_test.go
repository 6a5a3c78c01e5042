package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A stream is answered while it goes on, line by line, by a node and without one.
func TestStreamIsAnsweredAsItGoes(t *testing.T) {
	folder := t.TempDir()
	store := "dir:" + filepath.Join(folder, "data")
	events := filepath.Join(folder, "events.json")
	if err := os.WriteFile(events, demoEvents, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), nil, nil, "--store", store, "train", "acme/edge", events); code != exitDone {
		t.Fatalf("train: %d %s", code, stderr)
	}
	node := mustStart(t, folder, os.Environ(), "--store", store, "--insecure")
	for name, where := range map[string][]string{"in-process": {"--store", store}, "node": {"--server", node.URL}} {
		t.Run(name, func(t *testing.T) {
			stdin, send := io.Pipe()
			receive, stdout := io.Pipe()
			var stderr bytes.Buffer
			ended := make(chan int, 1)
			go func() {
				ended <- run(t.Context(), append(where, "detect", "acme/edge", "--json"), stdin, stdout, &stderr, func(string) string { return "" })
				stdout.Close()
			}()
			lines := bufio.NewReader(receive)
			for i := range 3 {
				fmt.Fprintf(send, `{"bytes_transferred":%d,"packet_count":2,"connection_duration":0.03}`+"\n", i)
				line, err := lines.ReadString('\n') // before the next event is sent
				if want := fmt.Sprintf(`{"index":%d,`, i); err != nil || !strings.HasPrefix(line, want) {
					t.Fatalf("event %d was answered with %q, %v; stderr: %s", i, line, err, stderr.String())
				}
			}
			send.Close()
			rest, err := io.ReadAll(lines)
			if want := `{"summary":{"events":3,"failed":0,"version":1}}` + "\n"; err != nil || string(rest) != want {
				t.Errorf("at the end %q, %v; want %q", rest, err, want)
			}
			if code := <-ended; code != exitDone {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
		})
	}
}

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The first half second of a transfer shows nothing: most are over by then.
const (
	meterDelay = 500 * time.Millisecond
	meterTick  = 200 * time.Millisecond
)

// meter shows on stderr how far a transfer has come: a line that moves on a terminal,
// one line at its end elsewhere, nothing with --quiet. It counts what is written to it.
type meter struct {
	p     *program
	name  string
	total int64 // bytes; negative: unknown
	done  atomic.Int64
	began time.Time
	stop  chan struct{}
	drawn sync.WaitGroup
}

func (p *program) meter(name string, total int64) *meter {
	m := &meter{p: p, name: name, total: total, began: time.Now(), stop: make(chan struct{})}
	if _, ok := terminal(p.stderr); ok && !p.Quiet {
		m.drawn.Go(m.draw)
	}
	return m
}

func (m *meter) Write(b []byte) (int, error) {
	m.done.Add(int64(len(b)))
	return len(b), nil
}

// end stops the line. It may be called once.
func (m *meter) end() {
	close(m.stop)
	m.drawn.Wait()
	took := time.Since(m.began)
	if _, ok := terminal(m.p.stderr); !ok && took >= meterDelay {
		m.p.say("%s  %s in %.1f s", plain(m.name), shortSize(m.done.Load()), took.Seconds())
	}
}

func (m *meter) draw() {
	wait := time.NewTimer(meterDelay)
	defer wait.Stop()
	for shown := false; ; shown = true {
		select {
		case <-m.stop:
			if shown {
				fmt.Fprint(m.p.stderr, "\r\x1b[K")
			}
			return
		case <-wait.C:
			fmt.Fprintf(m.p.stderr, "\r\x1b[K%s", m.line(time.Since(m.began)))
			wait.Reset(meterTick)
		}
	}
}

// line is for example "model.joblib  12.4 MiB/30.1 MiB  41%  8.2 MiB/s  2 s".
func (m *meter) line(took time.Duration) string {
	done := m.done.Load()
	rate := float64(done) / took.Seconds()
	if m.total <= 0 {
		return fmt.Sprintf("%s  %s  %s/s", plain(m.name), shortSize(done), shortSize(int64(rate)))
	}
	left := "?"
	if rate > 0 {
		left = fmt.Sprintf("%.0f s", float64(m.total-done)/rate)
	}
	return fmt.Sprintf("%s  %s/%s  %d%%  %s/s  %s", plain(m.name),
		shortSize(done), shortSize(m.total), 100*done/m.total, shortSize(int64(rate)), left)
}

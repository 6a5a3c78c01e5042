package detector

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"modelbucket/detector/sklearn"
	"modelbucket/registry"
)

// Describer finds out what the files of an upload hold, while they pass. Close it in
// any case.
//
//	d := detector.NewDescriber()
//	defer d.Close()
//	upload.File(ctx, name, d.Watch(name, body), …)
//	facts, err := d.Facts(features)
//	upload.Commit(ctx, facts)
type Describer struct {
	looks []*look
	pipes []*io.PipeWriter
	held  atomic.Int32 // how many files hold something
	wait  sync.WaitGroup
}

// look is a file being looked at.
type look struct {
	part
	err  error // why it is no part of a detector
	said sklearn.Facts
}

// NewDescriber looks at files as they are given to it.
func NewDescriber() *Describer { return &Describer{} }

// Watch returns a reader that gives what body gives, and has a look at it. A file that
// turns out to be no detector costs nothing from there on; one that does is held in
// memory, as far as Load would go.
func (d *Describer) Watch(name registry.FileName, body io.Reader) io.Reader {
	if d.held.Load() > 2 {
		return body // combine will have none of them already
	}
	l := &look{part: part{name: name}}
	from, to := io.Pipe()
	d.looks, d.pipes = append(d.looks, l), append(d.pipes, to)
	d.wait.Go(func() {
		if l.pipeline, l.said, l.err = sklearn.Examine(from, maxArtifact); l.err == nil {
			d.held.Add(1)
		}
		from.CloseWithError(errSeen)
	})
	return &watched{body: body, look: to}
}

var errSeen = errors.New("seen enough")

// watched is a body with a look at it, until that has seen enough.
type watched struct {
	body io.Reader
	look *io.PipeWriter
	gone bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if n > 0 && !w.gone {
		_, gone := w.look.Write(p[:n])
		w.gone = gone != nil
	}
	if err != nil {
		w.look.CloseWithError(err) // so that the look ends while other files pass
	}
	return n, err
}

// Facts are what the registry should keep of a version with the files seen, which have
// been read to their ends; Detector is nil where they hold none. features name the
// values of a row; nil leaves that to the artifact. They are refused (ErrInvalid) where
// they do not fit, or nothing has features.
func (d *Describer) Facts(features []string) (registry.Facts, error) {
	d.Close()
	var parts []part
	for _, l := range d.looks {
		if l.err == nil {
			parts = append(parts, l.part)
		}
	}
	p, files, err := combine(parts)
	if err != nil {
		if features != nil {
			for _, l := range d.looks {
				if l.err != nil {
					err = fmt.Errorf("%w; %s: %w", err, l.name, l.err)
				}
			}
			return registry.Facts{}, fmt.Errorf("%w: features are named, but there is no detector: %w", ErrInvalid, err)
		}
		facts, recordErr := factsOf(d.said(), nil)
		facts.NotADetectorBecause = d.because(err)
		return facts, recordErr
	}
	names, err := nameFeatures(features, p)
	if err != nil {
		return registry.Facts{}, err
	}
	v, err := newDetector(names, DefaultLevels(), p)
	if err != nil {
		return registry.Facts{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	i := slices.IndexFunc(d.looks, func(l *look) bool { return l.name == files[0] })
	return factsOf(d.looks[i].said, v.record(files))
}

// said is what the only file that says something says about itself.
func (d *Describer) said() sklearn.Facts {
	var said sklearn.Facts
	for _, l := range d.looks {
		if l.said.ModelType == "" {
			continue
		}
		if said.ModelType != "" {
			return sklearn.Facts{}
		}
		said = l.said
	}
	return said
}

// maxReason bounds what is kept of the reasons why files hold no detector, in bytes.
const maxReason = 1000

// because tells why the files that seem to be models make no detector; files of another
// kind give no reason.
func (d *Describer) because(err error) string {
	var reasons []string
	parts := 0
	for _, l := range d.looks {
		switch {
		case l.err == nil:
			parts++
		case !errors.Is(l.err, sklearn.ErrNoPickle) || l.named():
			reasons = append(reasons, fmt.Sprintf("%s: %v", l.name, l.err))
		}
	}
	if parts > 0 {
		reasons = append(reasons, err.Error())
	}
	reason := strings.Join(reasons, "; ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return reason
}

// named tells whether a file is named as pickles are.
func (l *look) named() bool {
	switch path.Ext(string(l.name)) {
	case ".joblib", ".pkl", ".pickle":
		return true
	}
	return false
}

// Close ends the looks and waits for them.
func (d *Describer) Close() {
	for _, p := range d.pipes {
		p.Close()
	}
	d.wait.Wait()
}

// Inspect tells what a file holds, in bounded time and memory, whatever it is. The error
// says why that is no detector, or is the reader's own; the description comes all the
// same, as far as it goes.
func Inspect(r io.Reader) (*sklearn.Description, error) { return sklearn.Describe(r, maxArtifact) }

// nameFeatures chooses the names of a row's values: those given, the artifact's own, or
// the default ones if there are as many. It is empty where none of these will do.
func nameFeatures(given []string, p *sklearn.Pipeline) ([]string, error) {
	width := p.Forest.Features
	if given != nil {
		if err := checkFeatures(given); err != nil {
			return nil, err
		}
		if len(given) != width {
			return nil, fmt.Errorf("%w: %d features are named, the forest takes %d", ErrInvalid, len(given), width)
		}
		if p.FeatureNames != nil && !slices.Equal(given, p.FeatureNames) {
			return nil, fmt.Errorf("%w: the features are named %s, the artifact has %s", ErrInvalid, shownNames(given), shownNames(p.FeatureNames))
		}
		return given, nil
	}
	switch own := p.FeatureNames; {
	case own != nil && checkFeatures(own) == nil:
		return own, nil
	case own == nil && width == len(DefaultFeatures()):
		return DefaultFeatures(), nil
	}
	return nil, nil
}

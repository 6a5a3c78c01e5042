package detector

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// eventsDigest digests events as Python's
//
//	json.dumps(events, sort_keys=True, default=str)
//
// writes the list of them, so that both name a set of training data alike. What Python
// is thought to hold is what its json module reads from the same JSON: an integer stays
// the integer it is, however long, any other number is a float. Events in CSV are
// digested as the objects that Event.AppendJSON makes of them.
type eventsDigest struct {
	md5, sha256 hash.Hash
	some        bool
	event, text []byte
	writer      pythonWriter
}

func newEventsDigest() *eventsDigest {
	d := &eventsDigest{md5: md5.New(), sha256: sha256.New()}
	d.write([]byte("["))
	return d
}

func (d *eventsDigest) write(p []byte) {
	d.md5.Write(p) // a hash never returns an error
	d.sha256.Write(p)
}

func (d *eventsDigest) add(e *Event) error {
	value := e.text
	if value == nil {
		d.event = e.AppendJSON(d.event[:0])
		value = d.event
	}
	d.text = d.text[:0]
	if d.some {
		d.text = append(d.text, ", "...)
	}
	d.some = true
	var err error
	if d.text, err = d.writer.append(d.text, value, 0); err != nil {
		return err
	}
	d.write(d.text)
	return nil
}

// sums closes the list and returns both digests, in hex.
func (d *eventsDigest) sums() (md5, sha256 string) {
	d.write([]byte("]"))
	return hex.EncodeToString(d.md5.Sum(nil)), hex.EncodeToString(d.sha256.Sum(nil))
}

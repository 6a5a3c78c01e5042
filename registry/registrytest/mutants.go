package registrytest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"modelbucket/blob"
)

// Mutant is a node that breaks one rule of the protocol: its door to the bucket lies.
type Mutant struct {
	Name string
	door func(blob.Bucket) blob.Bucket
}

// Mutants are all of them.
//
// Two more would make no difference, and so are not here. "The number of a deleted
// version is given again": its record stays, so that nobody can take it. "An index moves
// without its condition": whatever one of its states says is true for good. A third is
// caught too rarely: "latest does not look for a number that was added while the log was
// read" needs a publish and a deletion within one listing, each seen by half. That rule
// has tests of its own in the registry.
func Mutants() []Mutant {
	return append(append(append(writers(), doubters()...), readers()...), sweepers()...)
}

// unconditional drops the conditions of writes.
func unconditional(name string, of func(string) bool) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		d.put = func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
			if of(key) {
				o.IfAbsent, o.IfMatch = false, ""
			}
			return d.honestPut(ctx, key, data, o)
		}
		return d
	}}
}

// instead answers a write in the place of the bucket.
func instead(name string, of func(string) bool, answer func(d *door, ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error)) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		d.put = func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
			if of(key) {
				return answer(d, ctx, key, data, o)
			}
			return d.honestPut(ctx, key, data, o)
		}
		return d
	}}
}

// swallowed says of a write that it was done, and does nothing.
func swallowed(d *door, _ context.Context, key string, data []byte, _ blob.PutOptions) (blob.Object, error) {
	return blob.Object{Key: key, Size: int64(len(data))}, nil
}

// writers write what, or when, they must not.
func writers() []Mutant {
	return []Mutant{
		unconditional("records are written without a condition", isRecord),
		unconditional("aliases are written without a condition", isAlias),
		unconditional("models are written without a condition", isModel),
		unconditional("attributes are written without a condition", isAttributes),
		unconditional("labels are anchored without a condition", isLabel),
		unconditional("keys are anchored without a condition", isOperation),
		unconditional("tombstones are written without a condition", isTombstone),
		instead("aliases are swapped on the newest ETag, whatever was read", isAlias,
			func(d *door, ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
				if now, err := d.Bucket.Stat(ctx, key); err == nil && o.IfMatch != "" {
					o.IfMatch = now.ETag
				}
				return d.honestPut(ctx, key, data, o)
			}),
		instead("changes are not signed", isAlias,
			func(d *door, ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
				return d.honestPut(ctx, key, reseal(data, func(body map[string]any) { body["recent"] = nil }), o)
			}),
		instead("uploads leave no intent", isIntent, swallowed),
		instead("deletions leave no word for the collector", isTrash, swallowed),
		instead("files are stored by half", isFile,
			func(d *door, ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
				return d.honestPut(ctx, key, data[:len(data)/2], o)
			}),
		{"a deletion takes the record", func(b blob.Bucket) blob.Bucket {
			d := &door{Bucket: b}
			d.put = func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
				object, err := d.honestPut(ctx, key, data, o)
				if err == nil && isTombstone(key) {
					err = b.Delete(ctx, strings.Replace(key, ".tombstone", "", 1))
				}
				return object, err
			}
			return d
		}},
		writtenBehind("saves are acknowledged before their record", isRecord),
		writtenBehind("the record comes before the files", isFile),
		writtenBehind("the record comes before the metadata", isMetadata),
	}
}

// writtenBehind says of writes that they were done, and sends them with the node's next
// call, or after a record.
func writtenBehind(name string, of func(string) bool) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &behind{door: door{Bucket: b}}
		d.put = func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
			if of(key) {
				return d.later(ctx, key, data, o)
			}
			object, err := d.honestPut(ctx, key, data, o)
			if isRecord(key) {
				d.flush()
			}
			return object, err
		}
		d.stat = func(ctx context.Context, key string) (blob.Object, error) {
			if of("/_versions/000000/000-1.json") { // records: nothing else would send them
				d.flush()
			}
			return b.Stat(ctx, key)
		}
		return d
	}}
}

// renamed turns one error of a write into another; nil is success.
func renamed(name string, of func(string) bool, from, to error) Mutant {
	return instead(name, of, func(d *door, ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
		object, err := d.honestPut(ctx, key, data, o)
		if errors.Is(err, from) {
			return object, to
		}
		return object, err
	})
}

// doubters take a doubtful answer for a certain one.
func doubters() []Mutant {
	return []Mutant{
		renamed("a doubtful commit is a success", isRecord, blob.ErrUnavailable, nil),
		renamed("a doubtful commit is a failure", isRecord, blob.ErrUnavailable, blob.ErrDenied),
		renamed("a doubtful commit was not sent", isRecord, blob.ErrUnavailable, errNotSent),
		renamed("a doubtful change of an alias is a success", isAlias, blob.ErrUnavailable, nil),
		renamed("a doubtful change of an alias is a failure", isAlias, blob.ErrUnavailable, blob.ErrDenied),
		renamed("a doubtful deletion is a success", isTombstone, blob.ErrUnavailable, nil),
		renamed("a doubtful deletion is a failure", isTombstone, blob.ErrUnavailable, blob.ErrDenied),
		renamed("a doubtful intent is a success", isIntent, blob.ErrUnavailable, nil),
		disowned("after a doubtful commit comes the next number", blob.ErrUnavailable),
		disowned("a number that is taken is another's", blob.ErrPrecondition),
	}
}

// disowned takes a record for another's after an error.
func disowned(name string, after error) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		var others sync.Map // key: what is said to lie there, once
		d := &door{Bucket: b}
		d.put = func(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Object, error) {
			object, err := d.honestPut(ctx, key, data, o)
			if isRecord(key) && errors.Is(err, after) {
				others.Store(key, reseal(data, func(body map[string]any) { body["operation"], body["label"] = "another", "" }))
			}
			return object, err
		}
		d.get = func(ctx context.Context, key string) ([]byte, blob.Object, error) {
			if data, ok := others.LoadAndDelete(key); ok {
				return data.([]byte), blob.Object{Key: key}, nil
			}
			return d.honestGet(ctx, key)
		}
		return d
	}}
}

// changed alters the bodies of objects that are read.
func changed(name string, of func(context.Context, string) bool, change func(map[string]any)) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		d.get = func(ctx context.Context, key string) ([]byte, blob.Object, error) {
			data, o, err := d.honestGet(ctx, key)
			if err == nil && of(ctx, key) {
				data = reseal(data, change)
			}
			return data, o, err
		}
		return d
	}}
}

// unseen says of objects that they are not there.
func unseen(name string, of func(string) bool) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		d.stat = func(ctx context.Context, key string) (blob.Object, error) {
			o, err := b.Stat(ctx, key)
			if err == nil && of(key) {
				return blob.Object{}, blob.ErrNotFound
			}
			return o, err
		}
		return d
	}}
}

// listed alters the pages of listings.
func listed(name string, change func(ctx context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error)) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		d.list = func(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
			page, err := b.List(ctx, o)
			return change(ctx, o, page, err)
		}
		return d
	}}
}

// readers believe what they must not.
func readers() []Mutant {
	return []Mutant{
		unseen("tombstones are not looked for", isTombstone),
		changed("deleted models are not deleted", func(_ context.Context, key string) bool { return isModel(key) },
			func(body map[string]any) { body["deleted_through"], body["deleted"] = 0, false }),
		changed("records are not searched for label and key", func(_ context.Context, key string) bool { return isRecord(key) },
			func(body map[string]any) { body["operation"], body["label"] = "", "" }),
		listed("a listing shows no tombstones", func(_ context.Context, _ blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			return dropped(page, isTombstone), err
		}),
		listed("a broken listing is a short one", func(_ context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			if err != nil && o.StartAfter != "" {
				return blob.Page{}, nil
			}
			return page, err
		}),
		listed("the first page is all there is", func(_ context.Context, _ blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			page.Next = ""
			return page, err
		}),
		listed("the log ends one number later", func(_ context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			if isLog(o.Prefix) && o.Limit == 1 && len(page.Objects) > 0 {
				page.Objects[0].Key = nextRecord(page.Objects[0].Key)
			}
			return page, err
		}),
		listed("who deletes does not look for aliases", func(_ context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			if isAlias(o.Prefix) {
				return blob.Page{}, err
			}
			return page, err
		}),
		{"the log's end is remembered for a second", func(b blob.Bucket) blob.Bucket {
			d, ends := &door{Bucket: b}, &remembered[blob.Page]{}
			d.list = func(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
				if !isLog(o.Prefix) || o.Limit != 1 {
					return b.List(ctx, o)
				}
				return ends.get(o.Prefix+o.StartAfter, func() (blob.Page, error) { return b.List(ctx, o) })
			}
			return d
		}},
		{"tombstones that are not there are remembered for a second", func(b blob.Bucket) blob.Bucket {
			d, absent := &door{Bucket: b}, &remembered[error]{}
			d.stat = func(ctx context.Context, key string) (o blob.Object, err error) {
				if !isTombstone(key) {
					return b.Stat(ctx, key)
				}
				gone, err := absent.get(key, func() (error, error) {
					if o, err = b.Stat(ctx, key); errors.Is(err, blob.ErrNotFound) {
						return err, nil
					}
					return nil, errors.Join(err, errNothing)
				})
				switch {
				case gone != nil:
					return o, gone
				case errors.Is(err, blob.ErrUnavailable):
					return blob.Object{}, err
				case o.Key == "":
					return blob.Object{}, err
				}
				return o, nil
			}
			return d
		}},
		{"aliases are remembered for a second", func(b blob.Bucket) blob.Bucket {
			type found struct {
				data   []byte
				object blob.Object
			}
			d, aliases := &door{Bucket: b}, &remembered[found]{}
			d.get = func(ctx context.Context, key string) ([]byte, blob.Object, error) {
				if !isAlias(key) {
					return d.honestGet(ctx, key)
				}
				f, err := aliases.get(key, func() (found, error) {
					data, o, err := d.honestGet(ctx, key)
					return found{data, o}, err
				})
				return f.data, f.object, err
			}
			return d
		}},
	}
}

// errNothing: there is nothing to be remembered.
var errNothing = errors.New("nothing to remember")

func dropped(page blob.Page, of func(string) bool) blob.Page {
	kept := page.Objects[:0]
	for _, o := range page.Objects {
		if !of(o.Key) {
			kept = append(kept, o)
		}
	}
	page.Objects = kept
	return page
}

// aged makes objects older, or the present later.
func aged(name string, of func(context.Context, string) bool, by time.Duration) Mutant {
	return Mutant{name, func(b blob.Bucket) blob.Bucket {
		d := &door{Bucket: b}
		shift := func(ctx context.Context, o blob.Object) blob.Object {
			if of(ctx, o.Key) {
				o.Modified = o.Modified.Add(by)
			}
			return o
		}
		d.stat = func(ctx context.Context, key string) (blob.Object, error) {
			o, err := b.Stat(ctx, key)
			return shift(ctx, o), err
		}
		d.get = func(ctx context.Context, key string) ([]byte, blob.Object, error) {
			data, o, err := d.honestGet(ctx, key)
			return data, shift(ctx, o), err
		}
		d.list = func(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
			page, err := b.List(ctx, o)
			for i := range page.Objects {
				page.Objects[i] = shift(ctx, page.Objects[i])
			}
			return page, err
		}
		return d
	}}
}

// sweepers are collectors that take what they must not, or leave what they must take.
func sweepers() []Mutant {
	by := func(of func(string) bool) func(context.Context, string) bool {
		return func(ctx context.Context, key string) bool { return collecting(ctx) && of(key) }
	}
	return []Mutant{
		aged("uploads are condemned and deleted at once", by(isClock), 48*time.Hour),
		aged("keys are forgotten at once", by(isOperation), -8*24*time.Hour),
		aged("deleted versions go at once", by(isTrash), -8*24*time.Hour),
		changed("condemned uploads go on", func(ctx context.Context, key string) bool { return isIntent(key) && !collecting(ctx) },
			func(body map[string]any) { body["state"] = "open" }),
		listed("the collector does not read the log", func(ctx context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			if collecting(ctx) && isLog(o.Prefix) {
				return blob.Page{}, err
			}
			return page, err
		}),
		listed("the collector leaves aliases on deleted versions", func(ctx context.Context, o blob.ListOptions, page blob.Page, err error) (blob.Page, error) {
			if collecting(ctx) && isAlias(o.Prefix) {
				return blob.Page{}, err
			}
			return page, err
		}),
		{"the collector takes the metadata as well", func(b blob.Bucket) blob.Bucket {
			d := &door{Bucket: b}
			d.delete = func(ctx context.Context, key string) error {
				if err := b.Delete(ctx, key); err != nil || !collecting(ctx) || !isFile(key) {
					return err
				}
				return b.Delete(ctx, key[:strings.LastIndexByte(key, '/')+1]+"metadata.json")
			}
			return d
		}},
		{"the collector forgets uploads and leaves their files", func(b blob.Bucket) blob.Bucket {
			d := &door{Bucket: b}
			d.delete = func(ctx context.Context, key string) error {
				if collecting(ctx) && !isIntent(key) && (isFile(key) || isMetadata(key)) {
					return nil
				}
				return b.Delete(ctx, key)
			}
			d.list = func(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
				page, err := b.List(ctx, o)
				if collecting(ctx) {
					page = dropped(page, func(key string) bool { return isFile(key) || isMetadata(key) })
				}
				return page, err
			}
			return d
		}},
	}
}

package registry

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Keys are an inner matter, so this test stands within: what one function builds the
// other reads, and newer numbers sort before older ones with all their siblings.

func anyNumber() *rapid.Generator[Number] {
	return rapid.Map(rapid.Int64Range(1, int64(MaxNumber)), func(n int64) Number { return Number(n) })
}

func TestKeysAreReadBack(t *testing.T) {
	names := rapid.StringMatching(`[A-Za-z][A-Za-z0-9._-]{0,20}[A-Za-z0-9]`)
	ids := rapid.Map(names, func(s string) ID { return ID(s + ".0199c2f0-1234-7abc-8def-0123456789ab") })
	rapid.Check(t, func(t *rapid.T) {
		s := series{Tenant("acme"), Model(names.Draw(t, "model"))}
		n := anyNumber().Draw(t, "number")
		name, id := names.Draw(t, "name"), ids.Draw(t, "id")
		file := FileName(rapid.StringMatching(`[A-Za-z0-9_@=+-]{1,9}(/[A-Za-z0-9 .]{1,9}x){0,2}`).Draw(t, "file"))
		last := min(n+7, MaxNumber)
		operation := operationName(name)
		for key, want := range map[string]location{
			s.modelKey():              {kind: kindModel},
			s.recordKey(n):            {kind: kindRecord, number: n},
			s.attributesKey(n):        {kind: kindAttributes, number: n},
			s.tombstoneKey(n):         {kind: kindTombstone, number: n},
			s.aliasKey(Alias(name)):   {kind: kindAlias, name: name},
			s.operationKey(operation): {kind: kindOperation, name: operation},
			s.intentKey(id):           {kind: kindIntent, id: id},
			s.trashKey(n, last):       {kind: kindTrash, number: n, last: last},
			s.metadataKey(id):         {kind: kindMetadata, id: id},
			s.fileKey(id, file):       {kind: kindFile, id: id, file: file},
		} {
			if _, err := ParseAlias(name); err != nil && want.kind == kindAlias {
				continue
			}
			if _, err := ParseFileName(string(file)); err != nil && want.kind == kindFile {
				continue
			}
			if got := s.locate(key); got != want {
				t.Fatalf("%s: got %+v, want %+v", key, got, want)
			}
		}
	})
}

func TestNewerSortsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := series{"acme", "fraud"}
		a, b := anyNumber().Draw(t, "a"), anyNumber().Draw(t, "b")
		if a == b {
			return
		}
		newer, older := max(a, b), min(a, b)
		for _, x := range []string{s.recordKey(newer), s.attributesKey(newer), s.tombstoneKey(newer)} {
			if x >= s.behind(newer) {
				t.Fatalf("%s does not sort before %s", x, s.behind(newer))
			}
			for _, y := range []string{s.recordKey(older), s.attributesKey(older), s.tombstoneKey(older)} {
				if s.behind(newer) >= y {
					t.Fatalf("%s does not sort before %s", s.behind(newer), y)
				}
			}
		}
	})
}

// Any key at all is either one that the builders make, or foreign.
func FuzzLocate(f *testing.F) {
	s := series{"acme", "fraud"}
	for _, key := range []string{
		s.recordKey(7), s.tombstoneKey(999), s.labelKey("v1"), s.trashKey(1, 2), s.modelKey(),
		s.prefix() + "_versions/999999/992-8.json", s.prefix() + "_versions/999999/0992-7.json", s.prefix() + "_aliases/a/b.json",
	} {
		f.Add(strings.TrimPrefix(key, s.prefix()))
	}
	f.Fuzz(func(t *testing.T, rest string) {
		key := s.prefix() + rest
		var built string
		switch l := s.locate(key); l.kind {
		case kindForeign:
			return
		case kindModel:
			built = s.modelKey()
		case kindRecord:
			built = s.recordKey(l.number)
		case kindAttributes:
			built = s.attributesKey(l.number)
		case kindTombstone:
			built = s.tombstoneKey(l.number)
		case kindLabel:
			built = s.labelKey(Label(l.name))
		case kindAlias:
			built = s.aliasKey(Alias(l.name))
		case kindOperation:
			built = s.operationKey(l.name)
		case kindIntent:
			built = s.intentKey(l.id)
		case kindTrash:
			built = s.trashKey(l.number, l.last)
		case kindMetadata:
			built = s.metadataKey(l.id)
		case kindFile:
			built = s.fileKey(l.id, l.file)
		}
		if built != key {
			t.Errorf("%q is read as %q", key, built)
		}
	})
}

// No bytes found under a key make unseal panic, and none but those sealed under it
// are believed.
func FuzzUnseal(f *testing.F) {
	const key = "acme/fraud/_versions/999999/992-7.json"
	good, err := seal(key, record{Version: 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":2,"key":"acme/fraud/_versions/999999/992-7.json","sha256":"","body":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var rec record
		if unseal(key, data, &rec) != nil {
			return
		}
		again, err := seal(key, rec)
		if err != nil {
			t.Fatal(err)
		}
		var same record
		err = unseal(key, again, &same)
		if twin, sealErr := seal(key, same); err != nil || sealErr != nil || !bytes.Equal(twin, again) {
			t.Errorf("%q was believed, and is not read back: %v", data, err)
		}
	})
}

package blob

import "strings"

// How keys become paths below the root of a Dir. An object's file is its key with "="
// behind it; a folder never ends in "=", so that the objects "a" and "a/b" live side
// by side (a= and a/b=). A folder whose own name ends in "=" gets a "~" behind it.
const objectsFolder = "o"

func objectPath(key string) string {
	folder, name := "", key
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		folder, name = key[:i+1], key[i+1:]
	}
	return folderPath(folder) + "/" + name + "="
}

// folderPath is the path of a prefix that is empty or ends in "/".
func folderPath(prefix string) string {
	if prefix == "" {
		return objectsFolder
	}
	if !strings.Contains(prefix, "=") {
		return objectsFolder + "/" + strings.TrimSuffix(prefix, "/")
	}
	path := objectsFolder
	for segment := range strings.SplitSeq(strings.TrimSuffix(prefix, "/"), "/") {
		if strings.HasSuffix(strings.TrimRight(segment, "~"), "=") {
			segment += "~"
		}
		path += "/" + segment
	}
	return path
}

// dirEntry is what a name on the disk means.
type dirEntry struct {
	name   string // a segment of keys
	folder bool
}

func decodeName(name string) dirEntry {
	if object, ok := strings.CutSuffix(name, "="); ok {
		return dirEntry{name: object}
	}
	if bare := strings.TrimRight(name, "~"); len(bare) < len(name) && strings.HasSuffix(bare, "=") {
		name = name[:len(name)-1]
	}
	return dirEntry{name: name, folder: true}
}

// less orders entries as the keys that they stand for: a folder as if "/" followed.
func (e dirEntry) less(f dirEntry) bool {
	n := min(len(e.name), len(f.name))
	if c := strings.Compare(e.name[:n], f.name[:n]); c != 0 {
		return c < 0
	}
	return e.at(n) < f.at(n)
}

func (e dirEntry) at(i int) int {
	switch {
	case i < len(e.name):
		return int(e.name[i])
	case e.folder:
		return '/'
	}
	return -1
}

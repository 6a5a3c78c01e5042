package registry

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The names of DESIGN's glossary. They come into being only through their parsers,
// once, at the edge; everything below takes the typed value and trusts it.
type (
	Tenant   string // who owns models; first segment of every key
	Model    string // a named series of versions, case-sensitive
	Label    string // an immutable name that a user gave to one version
	Alias    string // a movable name for one version
	ID       string // a version's folder: "<label or UTC time>.<uuidv7>"
	FileName string // a path of one file within a version
	Number   int64  // 1, 2, 3 … per model, given at commit
)

// DefaultTenant owns what is saved without naming a tenant.
const DefaultTenant Tenant = "default"

// MaxNumber is the highest number that a version can get.
const MaxNumber Number = 999_999_999

var (
	tenantGrammar  = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	modelGrammar   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)
	segmentGrammar = regexp.MustCompile(`^[A-Za-z0-9._ +@=-]{1,200}$`)
	idGrammar      = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)\.[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	digits         = regexp.MustCompile(`^[0-9]+$`)
)

// badName reports a name outside its grammar. The name is shown escaped and cut: it
// came from outside.
func badName(kind, s, want string) error {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return fmt.Errorf("%w: %s is no %s; %s", ErrBadName, strconv.QuoteToASCII(s), kind, want)
}

func ParseTenant(s string) (Tenant, error) {
	if !tenantGrammar.MatchString(s) {
		return "", badName("tenant", s, "1 to 63 of a-z, 0-9, _ and -, first and last a letter or digit")
	}
	return Tenant(s), nil
}

const modelRule = "1 to 128 of A-Z, a-z, 0-9, dot, _ and -, first and last a letter or digit"

func ParseModel(s string) (Model, error) {
	if !modelGrammar.MatchString(s) {
		return "", badName("model", s, modelRule)
	}
	return Model(s), nil
}

func ParseLabel(s string) (Label, error) {
	if !modelGrammar.MatchString(s) || digits.MatchString(s) || s == "latest" {
		return "", badName("label", s, modelRule+`, not all digits, not "latest"`)
	}
	return Label(s), nil
}

func ParseAlias(s string) (Alias, error) {
	if !modelGrammar.MatchString(s) || digits.MatchString(s) || s == "latest" {
		return "", badName("alias", s, modelRule+`, not all digits, not "latest"`)
	}
	return Alias(s), nil
}

func ParseID(s string) (ID, error) {
	if !idGrammar.MatchString(s) {
		return "", badName("version id", s, "a label or time, a dot and a UUIDv7")
	}
	return ID(s), nil
}

func ParseFileName(s string) (FileName, error) {
	const rule = "path segments of 1 to 200 of A-Z, a-z, 0-9, dot, _, space, +, @, = and -, none of them . or .., at most 700 bytes in all, not metadata.json or model.sig"
	if len(s) > 700 || s == metadataName || s == SignatureName {
		return "", badName("file name", s, rule)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if !segmentGrammar.MatchString(segment) || segment == "." || segment == ".." {
			return "", badName("file name", s, rule)
		}
	}
	return FileName(s), nil
}

func ParseNumber(s string) (Number, error) {
	if len(s) <= 9 && digits.MatchString(s) && s[0] != '0' {
		n, err := strconv.ParseInt(s, 10, 64)
		if err == nil {
			return Number(n), nil
		}
	}
	return 0, badName("version number", s, "1 to 999999999")
}

func (n Number) String() string { return strconv.FormatInt(int64(n), 10) }

// Selector names one version of a model; the zero value is the latest.
type Selector struct {
	Number Number
	Label  Label
	Alias  Alias
}

// IsLatest tells whether s is the zero value.
func (s Selector) IsLatest() bool { return s == Selector{} }

// String is the form that ParseSelector reads.
func (s Selector) String() string {
	switch {
	case s.Number != 0:
		return s.Number.String()
	case s.Label != "":
		return string(s.Label)
	case s.Alias != "":
		return "@" + string(s.Alias)
	}
	return "latest"
}

// ParseSelector reads "7", "v1.0", "latest", "@champion"; "" is the latest.
func ParseSelector(s string) (Selector, error) {
	switch {
	case s == "" || s == "latest":
		return Selector{}, nil
	case strings.HasPrefix(s, "@"):
		alias, err := ParseAlias(s[1:])
		return Selector{Alias: alias}, err
	case digits.MatchString(s):
		n, err := ParseNumber(s)
		return Selector{Number: n}, err
	}
	label, err := ParseLabel(s)
	return Selector{Label: label}, err
}

// Ref is a model, or one version of it: "acme/fraud", "acme/fraud:7",
// "acme/fraud:v1.0", "acme/fraud:latest", "acme/fraud@champion". Without a tenant it
// belongs to DefaultTenant.
type Ref struct {
	Tenant   Tenant
	Model    Model
	Selector Selector
}

func (r Ref) String() string {
	s := string(r.Tenant) + "/" + string(r.Model)
	switch {
	case r.Selector.IsLatest():
		return s
	case r.Selector.Alias != "":
		return s + r.Selector.String()
	}
	return s + ":" + r.Selector.String()
}

func ParseRef(s string) (Ref, error) {
	r := Ref{Tenant: DefaultTenant}
	rest, suffix := s, ""
	if i := strings.IndexAny(s, ":@"); i >= 0 {
		rest, suffix = s[:i], s[i:]
		if suffix == ":" || suffix == "@" || strings.HasPrefix(suffix, ":@") {
			return Ref{}, badName("reference", s, "for example acme/fraud, acme/fraud:7, acme/fraud:v1.0 or acme/fraud@champion")
		}
		suffix = strings.TrimPrefix(suffix, ":")
	}
	var err error
	if tenant, model, ok := strings.Cut(rest, "/"); ok {
		if r.Tenant, err = ParseTenant(tenant); err != nil {
			return Ref{}, err
		}
		rest = model
	}
	if r.Model, err = ParseModel(rest); err != nil {
		return Ref{}, err
	}
	if r.Selector, err = ParseSelector(suffix); err != nil {
		return Ref{}, err
	}
	return r, nil
}

func unmarshalText[T ~string](dst *T, parse func(string) (T, error), text []byte) error {
	v, err := parse(string(text))
	if err == nil {
		*dst = v
	}
	return err
}

// The parsers stand behind encoding.TextUnmarshaler too, so that JSON, flags and
// paths share them.
func (t *Tenant) UnmarshalText(b []byte) error   { return unmarshalText(t, ParseTenant, b) }
func (m *Model) UnmarshalText(b []byte) error    { return unmarshalText(m, ParseModel, b) }
func (l *Label) UnmarshalText(b []byte) error    { return unmarshalText(l, ParseLabel, b) }
func (a *Alias) UnmarshalText(b []byte) error    { return unmarshalText(a, ParseAlias, b) }
func (i *ID) UnmarshalText(b []byte) error       { return unmarshalText(i, ParseID, b) }
func (f *FileName) UnmarshalText(b []byte) error { return unmarshalText(f, ParseFileName, b) }

func (r *Ref) UnmarshalText(b []byte) error {
	v, err := ParseRef(string(b))
	if err == nil {
		*r = v
	}
	return err
}

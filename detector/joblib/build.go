package joblib

// build gives the state to what was made, once, and returns what stands in its place.
func (m *machine) build(made, state any) (any, error) {
	switch o := made.(type) {
	case *pendingArray:
		return m.wrapped(state)
	case *DType:
		if o.built {
			return nil, m.malformed("a dtype built twice")
		}
		return o, m.buildType(o, state)
	case *Array:
		if o.built {
			return nil, m.malformed("an array built twice")
		}
		return o, m.buildArray(o, state)
	case *Object:
		if o.built {
			return nil, m.malformed("%s built twice", kind(o))
		}
		o.built = true
		o.State = state
		if roleOf(o.Class) == opaque {
			return o, nil
		}
		d, ok := state.(*Dict)
		if !ok {
			return nil, m.malformed("%s with %s as its state", kind(o), kind(state))
		}
		if d.texts != len(d.Keys) {
			return nil, m.malformed("%s with attributes that have no name", kind(o))
		}
		return o, nil
	}
	return nil, m.malformed("state for %s", kind(made))
}

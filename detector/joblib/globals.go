package joblib

// role is what a global may be used for.
type role int

const (
	refused     role = iota
	estimator        // NEWOBJ without arguments, then one BUILD with a dict
	wrapper          // the same; the array's bytes follow the BUILD
	tree             // REDUCE (int, array of ints, int), then one BUILD with a dict
	opaque           // REDUCE with plain arguments; stands beside the model
	value            // only ever an argument
	dtype            // REDUCE (str, False, True), then one BUILD
	reconstruct      // REDUCE (ndarray, (0,), b'b'), then one BUILD
	scalar           // REDUCE (dtype, bytes)
	fromBuffer       // REDUCE (bytes, dtype, shape, order)
	encode           // REDUCE (str, 'latin1'): how protocol 2 writes bytes
	makeBytes        // REDUCE (): how protocol 2 writes empty bytes
	makeArray        // REDUCE (bytes): a bytearray
	makeSet          // REDUCE (list)
	construct        // REDUCE (estimator or wrapper, object, None): NEWOBJ in protocols 0 and 1
)

// roleOf is the closed list of what a file may name. Names are compared whole: Python
// would follow dots in them, and so would find any function of any module.
func roleOf(g Global) role {
	switch g {
	case Global{"joblib.numpy_pickle", "NumpyArrayWrapper"},
		Global{"sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"}:
		return wrapper
	case Global{"numpy", "dtype"}:
		return dtype
	case Global{"numpy", "ndarray"}, Global{"numpy", "memmap"},
		Global{"__builtin__", "object"}, Global{"builtins", "object"},
		Global{"numpy.random._mt19937", "MT19937"}:
		return value
	case Global{"numpy.core.multiarray", "_reconstruct"}, Global{"numpy._core.multiarray", "_reconstruct"}:
		return reconstruct
	case Global{"numpy.core.multiarray", "scalar"}, Global{"numpy._core.multiarray", "scalar"}:
		return scalar
	case Global{"numpy.core.numeric", "_frombuffer"}, Global{"numpy._core.numeric", "_frombuffer"}:
		return fromBuffer
	case Global{"sklearn.ensemble._iforest", "IsolationForest"},
		Global{"sklearn.tree._classes", "ExtraTreeRegressor"},
		Global{"sklearn.preprocessing._data", "StandardScaler"},
		Global{"sklearn.preprocessing._data", "MinMaxScaler"},
		Global{"sklearn.preprocessing._data", "RobustScaler"},
		Global{"sklearn.pipeline", "Pipeline"}:
		return estimator
	case Global{"sklearn.tree._tree", "Tree"}:
		return tree
	case Global{"numpy.random._pickle", "__randomstate_ctor"},
		Global{"numpy.random._pickle", "__bit_generator_ctor"},
		Global{"datetime", "datetime"}, Global{"datetime", "date"}, Global{"datetime", "time"},
		Global{"datetime", "timedelta"}, Global{"datetime", "timezone"}:
		return opaque
	case Global{"_codecs", "encode"}:
		return encode
	case Global{"__builtin__", "bytes"}, Global{"builtins", "bytes"}:
		return makeBytes
	case Global{"__builtin__", "bytearray"}, Global{"builtins", "bytearray"}:
		return makeArray
	case Global{"__builtin__", "set"}, Global{"builtins", "set"}:
		return makeSet
	case Global{"copy_reg", "_reconstructor"}, Global{"copyreg", "_reconstructor"}:
		return construct
	}
	return refused
}

package forest

import "math"

// halves has 2^(-i/256).
var halves = func() (h [256]float64) {
	for i := range h {
		h[i] = math.Exp2(-float64(i) / 256)
	}
	return h
}()

// scoreOf is the score of a row whose leaves add up to depth, in a forest where that of
// an average row is longest: -2^(-depth/longest). It is within two units in the
// last place, three times as fast as math.Exp2, and the same on all processors.
//
// The exponent is parted into a whole number, 256ths and a rest below them: a shift, a
// table (Tang, "Table-driven implementation of the exponential function", 1989) and a
// Taylor polynomial.
func scoreOf(depth, longest float64) float64 {
	if longest == 0 {
		return -0.5
	}
	u := depth / longest
	if !(u < 1000) {
		return -math.Exp2(-u)
	}
	n := uint64(u * 256)
	x := (u - float64(n)*(1.0/256)) * math.Ln2 // below 0.0028
	// e^-x - 1; the next term is below 1e-18.
	p := x * (-1 + float64(x*(1.0/2+float64(x*(-1.0/6+float64(x*(1.0/24+float64(x*(-1.0/120)))))))))
	h := halves[n%256]
	v := h + float64(h*p)
	return -math.Float64frombits(math.Float64bits(v) - n/256<<52)
}

//go:build !race

package main

// memoryFactor is what a program's memory is a multiple of, because it is watched.
const memoryFactor = 1

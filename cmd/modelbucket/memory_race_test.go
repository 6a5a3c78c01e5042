//go:build race

package main

// memoryFactor: the race detector keeps notes of each byte.
const memoryFactor = 20

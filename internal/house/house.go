// Package house holds the rules of this repository as tests: which package may import which, where a package comment stands,
// what no code may do. It has no code of its own.
package house

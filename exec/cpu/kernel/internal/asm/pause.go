package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// pause spins: n PAUSE instructions.
func pause() {
	TEXT("pause", NOSPLIT, "func(n int)")
	Doc("pause lets a spinning worker's processor rest a little: n PAUSE instructions.")
	n := Load(Param("n"), GP64())
	Label("loop")
	PAUSE()
	DECQ(n)
	JNZ(LabelRef("loop"))
	RET()
}

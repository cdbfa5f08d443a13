package pipeline

const memoryChild = "X"

func memoryWorkload() int { return 0 }

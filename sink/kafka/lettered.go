package kafka

// lettered tells the pipeline, while the done of a Write runs, how many of its rows went to the dead letter.
type lettered struct{ taken map[string]int64 }

// reporting is done as the Write's entry must call it, and set, which takes the number of rows before the entry is handed over.
func (l *lettered) reporting(done func(error)) (report func(error), set func(rows int)) {
	var of map[string]int64
	report = func(err error) {
		if err == nil {
			l.taken = of
		}
		done(err)
		l.taken = nil
	}
	set = func(rows int) {
		if rows > 0 {
			of = map[string]int64{ReasonRowTooLarge: int64(rows)}
		}
	}
	return report, set
}

// TakeDeadLettered implements pipeline.RowLetters.
func (l *lettered) TakeDeadLettered() map[string]int64 {
	taken := l.taken
	l.taken = nil
	return taken
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// lateCommit is the hardest moment to be killed at, brought about on purpose: the worker has asked for the commit, the broker has the
// request, and carries it out only after another worker has finished the mouthful. So either the taker has fenced the killed one, and
// the broker refuses the commit, or the rows of both are there. One commit is held at a time.
type lateCommit struct {
	mu sync.Mutex
	// armed says that the next commit is held; turn, that the strike before was another one.
	armed, turn bool
	// id is the transactional id of the commit that is held; empty while none is.
	id string
	// mouthful is what it is about, once its worker is killed.
	mouthful string
	release  chan struct{}
}

// arm has the next commit held, at every second call, unless one is.
func (l *lateCommit) arm() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn = !l.turn
	if !l.turn || l.armed || l.id != "" {
		return false
	}
	l.armed = true
	return true
}

// catch is told of each request to end a transaction. It returns what that has to wait for; nil for nothing.
func (l *lateCommit) catch(r *kmsg.EndTxnRequest) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed || !r.Commit {
		return nil
	}
	l.armed, l.id, l.release = false, r.TransactionalID, make(chan struct{})
	return l.release
}

// letGo has the broker carry out what is held.
func (l *lateCommit) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = false
	if l.id != "" {
		close(l.release)
		l.id, l.mouthful = "", ""
	}
}

func (l *lateCommit) state() (id, mouthful string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id, l.mouthful
}

func (l *lateCommit) about(mouthful string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mouthful = mouthful
}

// watchLate kills the worker of a commit that was caught, and lets the commit go when another one has finished the mouthful.
func (s *stage) watchLate(all []*process, replace func(i int) error, o *outcome) error {
	id, mouthful := s.late.state()
	switch {
	case id == "":
		return nil
	case mouthful != "":
		if textOf(s.aws.DynamoDB().Item(table, mouthful), "state") == "done" {
			s.late.letGo()
			o.late++
		}
		return nil
	}
	for _, it := range s.aws.DynamoDB().Items(table) {
		claim := textOf(it, "claim") // s3/LEDGER/WORKER/SLOT, a part of the transactional id
		if claim == "" || !strings.Contains(id+"/", "/"+claim+"/") {
			continue
		}
		worker := strings.Split(claim, "/")[2]
		for i, one := range all {
			log, err := os.ReadFile(one.log)
			if err != nil {
				return err
			}
			if bytes.Contains(log, []byte(worker)) && one.command == "run" {
				s.late.about(textOf(it, "id"))
				o.workerKills++
				return replace(i)
			}
		}
	}
	s.late.letGo() // it was about no mouthful that is claimed
	return nil
}

// textOf is a text in an item of the ledger; empty when there is none.
func textOf(it map[string]json.RawMessage, name string) string {
	var value attribute
	if it[name] == nil || json.Unmarshal(it[name], &value) != nil {
		return ""
	}
	return value.S
}

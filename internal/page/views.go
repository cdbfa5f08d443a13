package page

import "time"

// Talks is who talked to whom in the last minutes, as /api/talks answers it.
type Talks struct {
	// Window is the time that the sums are over, in seconds.
	Window int    `json:"window"`
	Edges  []Edge `json:"edges"`
	// OtherBytes and OtherFlows went over edges that are not listed.
	OtherBytes int64 `json:"other_bytes"`
	OtherFlows int64 `json:"other_flows"`
}

// Unknowns are the unnamed addresses of the last minutes, as /api/unknowns answers it.
type Unknowns struct {
	Window    int       `json:"window"`
	Addresses []Unknown `json:"addresses"`
	// OtherBytes and OtherFlows are of addresses that are not listed.
	OtherBytes int64 `json:"other_bytes"`
	OtherFlows int64 `json:"other_flows"`
}

// Unknown is one address that could not be named, for one reason.
type Unknown struct {
	Address string `json:"address"`
	VPC     string `json:"vpc"`
	Account string `json:"account"`
	Grade   string `json:"grade"`
	Reason  string `json:"reason"`
	// Why says the reason in words, Remedy what would name the address.
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
	Bytes  int64  `json:"bytes"`
	Flows  int64  `json:"flows"`
}

// Coverage is what comes in and what is silent, as /api/coverage answers it.
type Coverage struct {
	Now       time.Time  `json:"now"`
	LogGroups []LogGroup `json:"log_groups"`
	Networks  []Network  `json:"networks"`
	// Silent are interfaces that should be heard of and are not, at most some hundred; SilentTotal counts all.
	Silent      []SilentInterface `json:"silent"`
	SilentTotal int               `json:"silent_total"`
}

// Network is what is known and heard of one routing domain.
type Network struct {
	VPC     string `json:"vpc"`
	Account string `json:"account"`
	// Interfaces hold an address there now; Heard of them showed traffic within QuietSeconds.
	Interfaces int `json:"interfaces"`
	Heard      int `json:"heard"`
	// Silent ones are logged by a flow log, and were not heard of.
	Silent int `json:"silent"`
	// Last is when traffic of the domain was last seen; nil is never.
	Last *time.Time `json:"last"`
}

// SilentInterface is an interface whose flows are logged into this application, and of which none came.
type SilentInterface struct {
	Interface string `json:"interface"`
	Address   string `json:"address"`
	VPC       string `json:"vpc"`
	Account   string `json:"account"`
	App       string `json:"app"`
	Kind      string `json:"kind"`
	// Last is when traffic showed it, nil for never.
	Last *time.Time `json:"last"`
}

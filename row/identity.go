package row

// Identity is who an address belonged to, ready to be written into rows. It is made once when metadata changes, never
// modified after it was published, and shared by all rows that name it.
type Identity struct {
	App, AppSource, Cluster, Account, Region, AZ, VPC, Subnet string
	Instance, ENI, Name, Kind                                 string
	// Network is the name of the most specific prefix that covers the address, when only that is known.
	Network string
}

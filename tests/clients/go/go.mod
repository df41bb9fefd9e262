module chronik/clients/cli

go 1.24

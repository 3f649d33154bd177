module github.com/wsstats/wsstatsreceiver/wire

go 1.25.0

require github.com/go-faster/jx v1.2.0

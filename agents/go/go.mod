module github.com/wsstats/wsstatsreceiver/agents/go

go 1.25.0

require github.com/wsstats/wsstatsreceiver/wire v0.1.0

replace github.com/wsstats/wsstatsreceiver/wire => ../../wire

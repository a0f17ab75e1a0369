package server

// absentCommands are those by which a client makes sure that there is nothing of what this server never has.
func absentCommands() []command {
	return []command{
		{"function", -2, "", 0, 0, 0, function},
		{"script", -2, "", 0, 0, 0, script},
	}
}

func function(k *call) {
	switch n := len(k.args); {
	case is(k.args[1], "FLUSH") && n <= 3:
		k.w.Status("OK")
	case is(k.args[1], "LIST"):
		k.w.Array(0)
	default:
		k.unknownSub("FUNCTION", "flush list")
	}
}

func script(k *call) {
	switch n := len(k.args); {
	case is(k.args[1], "FLUSH") && n <= 3:
		k.w.Status("OK")
	case is(k.args[1], "EXISTS") && n >= 3:
		k.w.Array(n - 2)
		for range n - 2 {
			k.w.Int(0)
		}
	default:
		k.unknownSub("SCRIPT", "flush exists")
	}
}

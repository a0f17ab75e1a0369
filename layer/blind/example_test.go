package blind_test

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"

	"usui/layer/blind"
	"usui/layer/blind/wasm"
	"usui/layer/blind/wasmtest"
)

// gadget is a module with a function that returns c3050f, "syscall; ret" if it is executed.
func gadget() []byte {
	m := wasmtest.Module{Funcs: []wasmtest.Func{{
		Name: "gadget",
		Type: wasmtest.Type{Results: []wasm.ValType{wasm.I32}},
		Code: wasm.AppendI32(nil, 0xc3050f),
	}}}
	return m.Bytes()
}

func ExampleRewrite() {
	blinded, report, err := blind.Rewrite(context.Background(), gadget(), blind.Options{Policy: blind.Light, Arch: "amd64"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Blinded, "constant blinded, larger:", len(blinded) > len(gadget()))
	// Output: 1 constant blinded, larger: true
}

// One line differs from what runs without blinding: the one that makes the runtime.
func ExampleNewRuntime() {
	ctx := context.Background()
	r, err := blind.NewRuntime(ctx, wazero.NewRuntimeConfig(), blind.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close(ctx)
	instance, err := r.Instantiate(ctx, gadget())
	if err != nil {
		fmt.Println(err)
		return
	}
	results, err := instance.ExportedFunction("gadget").Call(ctx)
	fmt.Printf("%#x %v\n", results[0], err)
	// Output: 0xc3050f <nil>
}

"""Training steps of a GPT-2 on PyTorch, as one side of `galvani bench train --peers`.

It reads JSON objects from standard input, one a line: first the workload, then
requests. It answers each with one object on standard output:

    {"layers": 2, "width": 16, "heads": 2, "seq": 8, "batch": 2, "vocab": 13,
     "tied": true, "update": true, "precision": ""}
                       -> {"version": "2.6.0, fused AdamW, ..."} once the model is ready
    {"steps": 3}       -> {"seconds": [...], "losses": [...], "peak_bytes": 123456}

PyTorch is set up as it runs best on a CPU: scaled_dot_product_attention and the
fused AdamW where this version has them. The parent sets the number of threads
(OMP_NUM_THREADS) and has the C library keep freed memory.
"""

import contextlib
import json
import math
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

SDPA = hasattr(F, "scaled_dot_product_attention")


class Attention(nn.Module):
    def __init__(self, width, heads, seq):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if not SDPA:
            mask = torch.full((seq, seq), float("-inf")).triu(1)
            self.register_buffer("mask", mask)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            y.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for y in self.qkv(x).split(c, dim=2)
        )
        if SDPA:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q / math.sqrt(c // self.heads)) @ k.transpose(2, 3)
            y = F.softmax(scores + self.mask, dim=3) @ v
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, width, heads, seq):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, seq)
        self.ln_2 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 4 * width)
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.wte = nn.Embedding(w["vocab"], w["width"])
        self.wpe = nn.Embedding(w["seq"], w["width"])
        self.blocks = nn.ModuleList(
            Block(w["width"], w["heads"], w["seq"]) for _ in range(w["layers"])
        )
        self.ln_f = nn.LayerNorm(w["width"])
        self.head = nn.Linear(w["width"], w["vocab"], bias=False)
        self.apply(initialize)
        if w["tied"]:
            self.head.weight = self.wte.weight

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.shape[2]), targets.view(-1))


def initialize(module):
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def adamw(params, w):
    """AdamW, and which implementation it is: the fastest that works here."""
    constants = dict(
        lr=w["rate"], betas=(w["beta1"], w["beta2"]), eps=w["epsilon"], weight_decay=0.0
    )
    try:
        probe = nn.Parameter(torch.zeros(1))
        probe.grad = torch.zeros(1)
        torch.optim.AdamW([probe], fused=True, **constants).step()
        return torch.optim.AdamW(params, fused=True, **constants), "fused AdamW"
    except (TypeError, RuntimeError):
        return torch.optim.AdamW(params, foreach=True, **constants), "foreach AdamW"


def precision(w):
    """The context of the forward pass."""
    if w.get("precision") == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def peak_bytes():
    """The most bytes this process ever had resident; 0 where the system does not tell."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


class Trainer:
    def __init__(self, w):
        self.w = w
        torch.manual_seed(1)
        self.model = GPT(w)
        self.optimizer, name = adamw(self.model.parameters(), w)
        shape = (w["batch"], w["seq"])
        self.tokens = torch.randint(w["vocab"], shape)
        self.targets = torch.randint(w["vocab"], shape)
        attention = "scaled_dot_product_attention" if SDPA else "softmax attention"
        self.version = f"{torch.__version__}, {attention}, {name}"

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with precision(self.w):
            loss = self.model(self.tokens, self.targets)
        loss.backward()
        if self.w["update"]:
            self.optimizer.step()
        return loss.item()

    def run(self, steps):
        seconds, losses = [], []
        for _ in range(steps):
            start = time.perf_counter()
            losses.append(self.step())
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "losses": losses, "peak_bytes": peak_bytes()}


def main():
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    requests = iter(sys.stdin.readline, "")
    trainer = Trainer(json.loads(next(requests)))
    print(json.dumps({"version": trainer.version}), flush=True)
    for line in requests:
        print(json.dumps(trainer.run(json.loads(line)["steps"])), flush=True)


if __name__ == "__main__":
    main()

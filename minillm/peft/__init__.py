"""Parameter-efficient fine-tuning: ways to teach a trained model something new by changing little of it.

Everything here works on any nn.Module, which never learns of it.
"""

from minillm.peft.selective import train_all, train_head, train_last, train_only

__all__ = ["train_all", "train_head", "train_last", "train_only"]

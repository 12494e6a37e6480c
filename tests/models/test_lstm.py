"""The recurrent rung: torch's layers against the equations, and padding that changes nothing."""

import torch

from minillm.models import LSTMLM, LSTMConfig, lstm_step


def model():
    torch.manual_seed(0)
    return LSTMLM(LSTMConfig(vocab_size=20, layers=2, width=16)).eval()


def test_torchs_layers_equal_the_equations_step_by_step():
    lstm = model()
    ids = torch.randint(0, 20, (3, 9))
    x = lstm.embedding(ids)
    for index in range(2):
        state, outputs = (torch.zeros(3, 16), torch.zeros(3, 16)), []
        for t in range(9):
            state = lstm_step(x[:, t], state, lstm.lstm, index)
            outputs.append(state[0])
        x = torch.stack(outputs, dim=1)
    torch.testing.assert_close(lstm.hidden(ids), x)


def test_a_future_token_changes_no_past_logit():
    lstm, ids = model(), torch.randint(0, 20, (2, 8))
    changed = ids.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 20
    torch.testing.assert_close(lstm(changed)[:, :5], lstm(ids)[:, :5])
    assert not torch.allclose(lstm(changed)[:, 5:], lstm(ids)[:, 5:])


def test_padding_on_either_side_changes_nothing():
    lstm, ids = model(), torch.randint(0, 20, (2, 8))
    junk, real, none = torch.randint(0, 20, (2, 5)), torch.ones(2, 8), torch.zeros(2, 5)
    left = lstm(torch.cat([junk, ids], 1), torch.cat([none, real], 1))
    right = lstm(torch.cat([ids, junk], 1), torch.cat([real, none], 1))
    torch.testing.assert_close(left[:, 5:], lstm(ids))
    torch.testing.assert_close(right[:, :8], lstm(ids))

"""The diagrams of the course: SVG with an alternative text, drawn by a function each.

`draw("name")` or `diagrams.name()` draws one, with the numbers of an example or with those that a lesson passes.
Every number that is shown is computed from what a function was given. `LESSONS` says which belong to which lesson.

canvas, style    what is drawn on, its colours, and how wide a text is
shapes           rows of tokens, tables of cells, axes, bars
registry         the diagrams by name
lessons          which diagrams belong to which lesson

The drawings, by subject: language, text, attention, blocks, learning, speed, tasks, heads, answers, adapting, peft,
alignment, judges, inside, practice.
"""

from minillm.report.diagrams.adapting import (
    adalora_ranks, adapters_switched, forgetting_matrix, lora_merge, lora_shapes, penalties, rehearsal,
    two_valleys,
)  # fmt: skip
from minillm.report.diagrams.alignment import (
    bradley_terry, dpo_loss, dpo_models, one_stage_or_two, ppo_clipping, ppo_models, reliability_bins,
    reward_model, reward_to_tokens,
)  # fmt: skip
from minillm.report.diagrams.answers import (
    base_or_tuned, bleu_ngrams, brevity, calibration, conversation_mask, few_shot_prompt,
    longest_common_subsequence, ngram_overlap, packing, prompt_or_tune,
)  # fmt: skip
from minillm.report.diagrams.attention import (
    attention_masks, attention_row, causal_or_masked, grouped_queries, heads_cut, induction_head, kv_cache,
    one_query, rotary,
)  # fmt: skip
from minillm.report.diagrams.blocks import (
    block, encoder_decoder, gated_mlp, gpt2_beside_llama, layer_rms_norm, pre_post_norm, whole_model,
)  # fmt: skip
from minillm.report.diagrams.canvas import Canvas
from minillm.report.diagrams.heads import (
    bio_tags, heads_on_a_trunk, in_batch_negatives, layer_rates, pooling, starting_points, transfer,
)  # fmt: skip
from minillm.report.diagrams.inside import (
    activation_patching, logit_lens, probe, probe_controls, steering,
)  # fmt: skip
from minillm.report.diagrams.judges import (
    best_of_n, chain_of_thought, goodhart, grpo_group, pass_at_k, process_or_outcome, rlaif_loop,
)  # fmt: skip
from minillm.report.diagrams.language import (
    bigram_table, sentence_probability, context_window, cosine, ladder_to_the_floor, next_token, one_hot_lookup,
)  # fmt: skip
from minillm.report.diagrams.learning import (
    beam_search, early_stopping, gradient_accumulation, gradient_clipping, optimizer_memory, sampling_filters,
    shift, valley, warmup_decay,
)  # fmt: skip
from minillm.report.diagrams.lessons import LESSONS
from minillm.report.diagrams.peft import (
    ia3_scaling, learned_against_kept, prefix_keys, soft_prompt, trained_share, training_memory, where_peft_stands,
)  # fmt: skip
from minillm.report.diagrams.practice import (
    chat_template, closed_or_open_book, gguf_file, nearest_neighbour, retrieval, split_documents,
    stages_and_checks, stale_knowledge, whole_life,
)  # fmt: skip
from minillm.report.diagrams.registry import DIAGRAMS, draw
from minillm.report.diagrams.speed import (
    compute_optimal, distillation, loss_parts, matrix_product_cost, model_memory, number_formats, power_law,
    quantized_block, roofline, speculative_decoding,
)  # fmt: skip
from minillm.report.diagrams.tasks import (
    bert_masking, labels_per_row, labels_per_token, padding_in_the_mean, prediction_matrix, three_mistakes,
)  # fmt: skip
from minillm.report.diagrams.text import (
    bpe_tree, lsh_bands, padding, text_to_loss,
)  # fmt: skip

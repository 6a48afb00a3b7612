# SPDX-License-Identifier: Apache-2.0
"""Tiny models with random weights, of every architecture that transformers maps to sequence classification."""
import json
import os

# Sizes, by their names in configurations; a configuration uses those that it has.
SIZES = {
    "vocab_size": 340, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "type_vocab_size": 2,
    **dict.fromkeys("hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim".split(), 32),
    **dict.fromkeys("intermediate_size ffn_dim d_inner n_inner hidden_dim d_ff dff ffn_hidden_size encoder_ffn_dim decoder_ffn_dim "
                    "prediction_head_size".split(), 48),
    **dict.fromkeys("num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers".split(), 2),
    **dict.fromkeys("num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads".split(), 4),
    "num_key_value_heads": 2, **dict.fromkeys("head_dim d_kv d_head".split(), 8), "rotary_dim": 4, "attention_window": 8,
    **dict.fromkeys("max_position_embeddings n_positions n_ctx max_seq_len".split(), 64),
    **dict.fromkeys("num_experts num_local_experts n_routed_experts".split(), 4), "num_experts_per_tok": 2,
    **dict.fromkeys("moe_intermediate_size shared_expert_intermediate_size".split(), 24),
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_head_dim": 16,
    "n_group": 1, "topk_group": 1, "decoder_start_token_id": 0,
}
# Of those that are refused after loading.
REFUSED = {"ibert": {}, "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "local"], "local_attn_chunk_length": 8,
                                     "feed_forward_size": 48, "attention_head_size": 8}}
DROP = object()  # keep the configuration's default
LATENT = {"head_dim": DROP, "num_key_value_heads": 4}  # multi-head latent attention
LINEAR = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
          "layer_types": ["linear_attention", "full_attention"]}
TEXT = {**{k: SIZES[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                                 "num_key_value_heads", "head_dim", "pad_token_id", "eos_token_id", "bos_token_id",
                                 "max_position_embeddings")}}
IMAGE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
TABLES = "reads tables: its tokenizer takes no plain text"
PAGES = "reads pages as images"
KERNEL = "its attention is zero without a CUDA kernel of its own: on a processor all texts are one"


class Refused(str):
    """The error for a base that kolm does not train."""


WRITES = Refused("is an encoder-decoder model")

# {model type: what its configuration needs beyond SIZES, or why it is not tested}
MODELS = {
    **dict.fromkeys(
        "albert arcee bert big_bird biogpt bloom camembert convbert ctrl data2vec-text deberta deberta-v2 diffllama "
        "distilbert doge electra ernie esm eurobert exaone4 flaubert fnet gemma gemma2 gemma3_text glm glm4 gpt-sw3 gpt2 "
        "gpt_bigcode gpt_neox gpt_oss gptj gte helium hunyuan_v1_dense hunyuan_v1_moe jetmoe jina_embeddings_v3 layoutlm "
        "llama longformer markuplm megatron-bert minimax ministral ministral3 mistral mixtral mobilebert modernbert "
        "modernbert-decoder mpnet mpt nemotron nomic_bert nystromformer olmo olmo2 olmo3 openai-gpt opt persimmon phi phi3 "
        "phimoe qwen2 qwen2_moe qwen3 qwen3_moe rembert roberta roberta-prelayernorm roformer seed_oss smollm3 "
        "squeezebert stablelm starcoder2 ultrabert xlm xlm-roberta xlm-roberta-xl yoso".split(), {}),
    **dict.fromkeys("axk1 axk2 deepseek_v2 deepseek_v3 minicpm3 mistral4".split(), LATENT),
    "canine": {"max_position_embeddings": DROP},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"],
                            "rope_parameters": {kind: {"rope_type": "default", "rope_theta": 10000.0}
                                                for kind in ("sliding_attention", "full_attention")}},
    "esmc": {"num_key_value_heads": DROP},
    "falcon": {"head_dim": DROP},
    "funnel": {"num_hidden_layers": DROP, "block_sizes": [1, 1], "num_decoder_layers": 1},
    "gemma3": {"text_config": TEXT, "vision_config": IMAGE},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "perceiver": {"num_latents": 8, "d_latents": 32, "num_self_attends_per_block": 2, "num_self_attention_heads": 4,
                  "num_cross_attention_heads": 4},
    "qwen3_5": {"text_config": {**TEXT, **LINEAR}, "vision_config": {"hidden_size": 16, "intermediate_size": 16, "depth": 1,
                                                                     "num_heads": 2, "out_hidden_size": 32}},
    "qwen3_5_text": LINEAR, "qwen3_next": LINEAR,
    "roc_bert": {"pronunciation_vocab_size": 340, "shape_vocab_size": 340, "pronunciation_embed_dim": 8, "shape_embed_dim": 8},
    "xlnet": {"max_position_embeddings": DROP},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"layers_block_type": ["mamba", "hybrid", "hybrid"], "num_hidden_layers": 3, "use_mamba_kernels": False,
              "num_key_value_heads": 4},
    "zamba2": {"layers_block_type": ["mamba", "hybrid", "hybrid"], "num_hidden_layers": 3, "use_mamba_kernels": False,
               "mamba_ngroups": 1, "mamba_headdim": 8, "chunk_size": 16},
    "ibert": Refused("LoRA cannot be added to this base"),  # it has its own quantized layers; method=full trains them
    "mra": KERNEL,
    "reformer": Refused("cannot be trained on texts of these lengths"),  # it needs multiples of its chunk size
    "tapas": TABLES,
    **dict.fromkeys("layoutlmv2 layoutlmv3 modernvbert ultravbert".split(), PAGES),
    **dict.fromkeys("bart bigbird_pegasus mbart mt5 mvp plbart t5 t5gemma t5gemma2 umt5".split(), WRITES),
}
NOUNS = "invoice refund parcel courier password login screen battery colour size".split()
FILLER = "please help my the is was again today since monday wrong late gone broken new old".split()


def config_of(model_type):
    from transformers import CONFIG_MAPPING

    made = CONFIG_MAPPING[model_type]
    known = made()
    wanted = {name: value for name, value in SIZES.items() if hasattr(known, name)}
    wanted |= REFUSED[model_type] if model_type in REFUSED else MODELS[model_type]
    return made(**{name: value for name, value in wanted.items() if value is not DROP})


def make_tokenizer(directory, last):
    """Bytes and the words above: every class of tokenizer can be built from these, and some model types require a certain class (Qwen2).
    last: a text ends with [CLS], which has a separate token type, as for XLNet; otherwise it begins with [CLS]."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([" ".join([""] + NOUNS + FILLER)], trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"], special_tokens=["[PAD]", "</s>", "[CLS]"], initial_alphabet=letters, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s> [CLS]:2" if last else "[CLS] $A </s>", special_tokens=[("[CLS]", 2), ("</s>", 1)])
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if last else [])]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="</s>", cls_token="[CLS]",
                                   model_input_names=names)
    fast.save_pretrained(directory)


def make_base(directory, model_type):
    """Writes the base's files, without a head and without a pooler, like a language model that was trained without them."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_config(config_of(model_type)).eval()
    base = getattr(model, model.base_model_prefix)
    for parameter in base.parameters():
        if parameter.ndim > 1:  # so that the answers of such a small model differ
            parameter.data.mul_(4)
    base.save_pretrained(directory)
    path = os.path.join(directory, "model.safetensors")
    tensors = {n: t.clone() for n, t in load_file(path).items() if "pooler" not in n and not n.startswith("decoder.decoder")}
    save_file(tensors, path, metadata={"format": "pt"})
    make_tokenizer(directory, model_type in ("xlnet", "funnel"))
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        return json.load(file)

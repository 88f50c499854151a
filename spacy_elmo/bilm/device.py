"""Choosing the device of a network."""

import torch


def select_device(gpu_id: int = -1) -> torch.device:
    """Get the CPU or a GPU, which becomes the current one.

    gpu_id (int): Number of the GPU, or -1 for the CPU.
    RAISES: ValueError if PyTorch does not see that GPU.
    """
    if gpu_id < 0:
        return torch.device("cpu")
    n_gpus = torch.cuda.device_count()
    if gpu_id >= n_gpus:
        raise ValueError(
            f"gpu_id: expected one of the {n_gpus} GPUs that PyTorch sees, found "
            f"{gpu_id}. Use --gpu-id -1 for the CPU, start fewer processes, or install "
            "a PyTorch with CUDA."
        )
    device = torch.device("cuda", gpu_id)
    torch.cuda.set_device(device)
    return device
